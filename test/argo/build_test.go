package argo

import (
	"maps"
	"os"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"

	"github.com/slipway-build/slipway/internal/testbase/forge"
	"github.com/slipway-build/slipway/test/pod"
)

// buildOf is a Dockerfile that makes use of what the template build passes on, with its source.
func buildOf(registry string) map[string]string {
	return map[string]string{
		"deploy/Dockerfile": "FROM " + registry + `/base:1 AS made
ARG GREETING
COPY file /file
COPY --from=more extra /extra
RUN --mount=type=secret,id=token --mount=type=secret,id=key echo "$GREETING, $(cat /run/secrets/token)$(cat /run/secrets/key)" > /greeting
RUN grep friend /etc/hosts > /hosts && ulimit -n > /limit && grep " /dev/shm " /proc/mounts > /shm
FROM scratch AS unused
`,
		"app/file":        "from the source\n",
		"more/extra":      "from elsewhere\n",
		"more/Dockerfile": "FROM scratch\n",
	}
}

// What a build through Argo leaves in the registry is what the controller gets as outputs, and everything that
// the parameters ask for is in the image.
func TestBuild(t *testing.T) {
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			registry := serveRegistry(t)
			image, second := registry+"/team/app:v1", registry+"/team/app:latest"
			namespaces := !shape.RuntimeDefault
			shm := ""
			if namespaces {
				shm = "8m" // in place, /dev/shm is the pod's
			}
			arguments := argumentsOf(map[string]string{
				"image":             image,
				"context":           "app",
				"dockerfile":        "deploy/Dockerfile",
				"target":            "made",
				"tags":              `["` + second + `"]`,
				"build-args":        `["GREETING=Hello \"there\", --target=unused"]`,
				"build-contexts":    `["more=/src/more"]`,
				"labels":            `["team=a","sentence=one, two"]`,
				"annotations":       `["commit=0123"]`,
				"secrets":           `["id=key,src=other"]`,
				"add-hosts":         `["friend:10.1.2.3"]`,
				"ulimits":           `["nofile=99:100"]`,
				"source-date-epoch": "1700000000",
				"compression":       "zstd",
				"shm-size":          shm,
				"extra-args":        `["--no-cache","--label=extra=1"]`,
			}, archive(t, buildOf(registry)))
			tmpl := instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)
			cluster := node{shape: shape, secrets: map[string]map[string]string{
				"slipway-run-secret": {"token": "t0k3n", "other": "k3y"},
			}}
			o := cluster.run(t, podOf(t, tmpl))
			if o.exitCode != 0 {
				t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
			}

			found := descriptorOf(t, image)
			digest := found.Digest.String()
			want := map[string]string{
				"image-url":     image,
				"image-digest":  digest,
				"image-ref":     image + "@" + digest,
				"images":        image + "@" + digest + "," + second + "@" + digest,
				"base-images":   baseOf(t, registry),
				"sbom-blob-url": "", "error-reason": "", "error-message": "",
			}
			if !maps.Equal(o.outputs, want) {
				t.Errorf("outputs\n%v\nwant\n%v", o.outputs, want)
			}
			if also := descriptorOf(t, second).Digest; also != found.Digest {
				t.Errorf("%s is %s, not %s", second, also, found.Digest)
			}
			made := imageOf(t, image)
			files := filesOf(t, made)
			for name, text := range map[string]string{
				"file": "from the source\n", "extra": "from elsewhere\n", "limit": "99\n",
				"greeting": "Hello \"there\", --target=unused, t0k3nk3y\n",
			} {
				if files[name] != text {
					t.Errorf("%s holds %q, want %q", name, files[name], text)
				}
			}
			if !strings.Contains(files["hosts"], "10.1.2.3") {
				t.Errorf("/etc/hosts had %q", files["hosts"])
			}
			if namespaces && !strings.Contains(files["shm"], "size=8192k") {
				t.Errorf("/dev/shm was %q", files["shm"])
			}
			config, err := made.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			for label, value := range map[string]string{"team": "a", "sentence": "one, two", "extra": "1"} {
				if got := config.Config.Labels[label]; got != value {
					t.Errorf("the label %s is %q, want %q", label, got, value)
				}
			}
			if config.Created.Unix() > 1700000000 {
				t.Errorf("created at %v", config.Created)
			}
			manifest, err := made.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if manifest.Annotations["commit"] != "0123" {
				t.Errorf("annotations %v", manifest.Annotations)
			}
			if last := manifest.Layers[len(manifest.Layers)-1].MediaType; !strings.HasSuffix(string(last), "zstd") {
				t.Errorf("the last layer is %s", last)
			}
			checkProgress(t, o)
			for _, secret := range []string{"t0k3n", "k3y"} {
				if strings.Contains(o.log, secret) {
					t.Errorf("the log has the secret %s", secret)
				}
			}
		})
	}
}

// baseOf is the base image as the output base-images has it.
func baseOf(t *testing.T, registry string) string {
	t.Helper()
	return registry + "/base:1@" + descriptorOf(t, registry+"/base:1").Digest.String()
}

// checkProgress reads the file as Argo does it: its last line counts.
func checkProgress(t *testing.T, o outcome) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(o.progressFile), "\n")
	for _, line := range lines {
		if p, ok := wfv1.ParseProgress(strings.TrimSpace(line)); !ok || p.M() != 100 {
			t.Errorf("Argo does not understand the progress %q", line)
		}
	}
	if last := lines[len(lines)-1]; last != "100/100" {
		t.Errorf("the progress ended at %q", last)
	}
	if len(lines) < 3 {
		t.Errorf("the progress has only %d lines", len(lines))
	}
	if len(o.progress) == 0 {
		t.Error("no progress was reported to the controller")
	}
}

// "argo submit --from workflowtemplate/slipway": the workflow's arguments are those of the entrypoint.
func TestSubmitFromGit(t *testing.T) {
	registry := serveRegistry(t)
	image := registry + "/team/app:v1"
	r := forge.New(t).Repository(t, "app.git")
	commit := r.Commit(map[string]string{"Dockerfile": "FROM scratch\nCOPY file /\n", "file": "committed\n"})
	w := slipway(t)
	// What -p gives comes first, and what the template says fills up.
	arguments := *w.Spec.Arguments.DeepCopy()
	globals := common.Parameters{}
	given := map[string]string{"image": image, "git-repo": r.URL, "git-revision": commit, "labels": `["given=1"]`}
	for _, p := range arguments.Parameters {
		value, ok := given[p.Name]
		if !ok {
			value = p.Value.String()
		}
		globals["workflow.parameters."+p.Name] = value
	}
	artifacts := arguments.Artifacts
	arguments = values(given)
	arguments.Artifacts = artifacts
	tmpl := instance(t, templateNamed(t, w, w.Spec.Entrypoint), arguments, globals)
	o := node{shape: pod.Baseline()}.run(t, podOf(t, tmpl))
	if o.exitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
	}
	if digest := descriptorOf(t, image).Digest.String(); o.outputs["image-digest"] != digest {
		t.Errorf("the digest is %s, not %q", digest, o.outputs["image-digest"])
	}
	if files := filesOf(t, imageOf(t, image)); files["file"] != "committed\n" {
		t.Errorf("the image has %v", files)
	}
}

// There is no artifact: slipway fetches a repository that only the key of ssh-secret opens, and RUN gets an agent
// with it.
func TestContextURL(t *testing.T) {
	registry := serveRegistry(t)
	image := registry + "/team/app:v1"
	f, key := forge.New(t), forge.NewKey(t)
	f.Repository(t, "app.git").Commit(map[string]string{
		"Dockerfile": "FROM " + registry + "/base:1\nCOPY file /\nRUN --mount=type=ssh,required [ -S \"$SSH_AUTH_SOCK\" ]\n",
		"app/file":   "committed\n",
	})
	address, _ := f.SSH(t, key.Public)
	arguments := values(map[string]string{"image": image, "context": "app", "context-url": "ssh://git@" + address + "/app.git#main", "ssh-secret": "key"})
	tmpl := instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)
	cluster := node{shape: pod.Baseline(), secrets: map[string]map[string]string{"key": {"ssh-privatekey": string(key.PEM(t, ""))}}}
	o := cluster.run(t, podOf(t, tmpl))
	if o.exitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
	}
	if files := filesOf(t, imageOf(t, image)); files["file"] != "committed\n" {
		t.Errorf("the image has %v", files)
	}
}

// The example with a claim: its podSpecPatch mounts the source where the artifact would be.
func TestVolume(t *testing.T) {
	const path = "examples/argo/volume.yaml"
	registry := serveRegistry(t)
	image := registry + "/team/app:v1"
	example := readManifests(t).workflows[path]
	if example == nil {
		t.Fatalf("no workflow in %s", path)
	}
	arguments := example.Spec.Templates[0].Steps[0].Steps[0].Arguments
	for i := range arguments.Parameters {
		if arguments.Parameters[i].Name == "image" {
			arguments.Parameters[i].Value = wfv1.AnyStringPtr(image)
		}
	}
	claim := t.TempDir()
	if err := os.Chmod(claim, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, claim, map[string]string{"services/app/Dockerfile": "FROM scratch\nCOPY file /\n", "services/app/file": "claimed\n"})
	tmpl := instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)
	cluster := node{shape: pod.Default(), claims: map[string]string{"source": claim}}
	o := cluster.run(t, podOf(t, tmpl, example.Spec.PodSpecPatch))
	if o.exitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
	}
	if files := filesOf(t, imageOf(t, image)); files["file"] != "claimed\n" {
		t.Errorf("the image has %v", files)
	}
}

// Logins come out of a Secret such as "kubectl create secret docker-registry" makes.
func TestPrivateRegistry(t *testing.T) {
	registry := servePrivate(t)
	image := registry + "/team/app:v1"
	arguments := argumentsOf(map[string]string{"image": image, "docker-config-secret": "login"},
		archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	tmpl := instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)

	o := node{shape: pod.Default()}.run(t, podOf(t, tmpl))
	if o.exitCode != 1 || o.outputs["error-reason"] != "RegistryRefused" || !strings.Contains(o.outputs["error-message"], registry) {
		t.Errorf("without a login: exit code %d, outputs %v", o.exitCode, o.outputs)
	}
	cluster := node{shape: pod.Default(), secrets: map[string]map[string]string{"login": {".dockerconfigjson": dockerConfig(registry)}}}
	o = cluster.run(t, podOf(t, tmpl))
	if o.exitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
	}
	if digest := descriptorOf(t, image).Digest.String(); o.outputs["image-digest"] != digest {
		t.Errorf("the digest is %s, not %q", digest, o.outputs["image-digest"])
	}
}

// Certificates come out of a ConfigMap, for all registries or for one; and without any, only who asks for it
// pushes to a registry that nobody knows.
func TestCertificates(t *testing.T) {
	registry, certificate := serveTLS(t)
	source := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	for _, test := range []struct {
		name       string
		configMap  map[string]string
		parameters map[string]string
		exitCode   int
	}{
		{name: "unknown", exitCode: 1},
		{name: "known", configMap: map[string]string{"ca.crt": certificate}},
		{
			name: "known for the registry", configMap: map[string]string{"ca": certificate},
			parameters: map[string]string{"registry-certificates": `["` + registry + `=ca"]`},
		},
		{name: "not verified", parameters: map[string]string{"tls-verify": "false"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := map[string]string{"image": registry + "/team/app:v1", "certificates-config-map": "certificates"}
			maps.Copy(parameters, test.parameters)
			tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(parameters, source), nil)
			cluster := node{shape: pod.Default(), configMaps: map[string]map[string]string{"certificates": test.configMap}}
			o := cluster.run(t, podOf(t, tmpl))
			if o.exitCode != test.exitCode {
				t.Errorf("exit code %d\n%s", o.exitCode, o.log)
			}
		})
	}
}

// Without a push the outputs are empty.
func TestSkipPush(t *testing.T) {
	arguments := argumentsOf(map[string]string{"image": noRegistry(t) + "/app:1", "skip-push": "true", "progress": "quiet"},
		archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	o := node{shape: pod.Default()}.run(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)))
	if o.exitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
	}
	for name, value := range o.outputs {
		if value != "" {
			t.Errorf("the output %s is %q", name, value)
		}
	}
	if strings.Contains(o.log, "#1") {
		t.Errorf("it is not quiet:\n%s", o.log)
	}
}

// What is told of a failure, to the controller and by the exit code.
func TestBuildFails(t *testing.T) {
	registry := serveRegistry(t)
	for _, test := range []struct {
		name, image, dockerfile string
		parameters              map[string]string
		exitCode                int
		reason, message         string
		retried                 bool
	}{
		{
			name: "a RUN", image: registry + "/app:1", dockerfile: "FROM " + registry + "/base:1\n\nRUN exit 7\n",
			exitCode: 7, reason: "RunFailed", message: "Dockerfile:3: ",
		},
		{
			name: "the Dockerfile", image: registry + "/app:1", dockerfile: "FROM scratch\nCOPY missing /\n",
			exitCode: 1, reason: "DockerfileError", message: "Dockerfile:2: ",
		},
		{
			name: "no registry", image: noRegistry(t) + "/app:1", dockerfile: "FROM scratch\nCOPY Dockerfile /\n",
			exitCode: 75, reason: "RegistryUnavailable", message: "connection refused", retried: true,
		},
		{
			name: "a parameter", image: registry + "/app:1", dockerfile: "FROM scratch\n", parameters: map[string]string{"context": "missing"},
			exitCode: 2, reason: "UsageError", message: "missing",
		},
		{
			name: "a list", image: registry + "/app:1", dockerfile: "FROM scratch\n", parameters: map[string]string{"build-args": `["--target=x"]`},
			exitCode: 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := map[string]string{"image": test.image}
			maps.Copy(parameters, test.parameters)
			arguments := argumentsOf(parameters, archive(t, map[string]string{"Dockerfile": test.dockerfile, "more": ""}))
			tmpl := instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)
			o := node{shape: pod.Default()}.run(t, podOf(t, tmpl))
			if o.exitCode != test.exitCode {
				t.Errorf("exit code %d, want %d\n%s", o.exitCode, test.exitCode, o.log)
			}
			for name, value := range o.outputs {
				if !strings.HasPrefix(name, "error-") && value != "" {
					t.Errorf("the output %s is %q", name, value)
				}
			}
			if o.outputs["error-reason"] != test.reason || !strings.Contains(o.outputs["error-message"], test.message) {
				t.Errorf("outputs %v, want %s and %q", o.outputs, test.reason, test.message)
			}
			if len(o.outputs) != len(tmpl.Outputs.Parameters) {
				t.Errorf("%d outputs of %d", len(o.outputs), len(tmpl.Outputs.Parameters))
			}
			if strings.Contains(o.progressFile, "100/100") {
				t.Errorf("the progress is %q", o.progressFile)
			}
			if got := retries(t, tmpl.RetryStrategy, o.exitCode); got != test.retried {
				t.Errorf("tried again: %v", got)
			}
		})
	}
}
