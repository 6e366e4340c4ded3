package argo

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
)

// A second build, in a new pod, finds all that the first one kept: it executes nothing and gives the same image.
func TestCache(t *testing.T) {
	onVolume, patch := exampleOf(t, "cache.yaml")
	for _, test := range []struct {
		name       string
		parameters map[string]string // REGISTRY stands for the registry
		patches    []string
	}{
		{name: "beside the image", parameters: map[string]string{"cache": "true"}},
		{name: "repository", parameters: map[string]string{"cache": "true", "cache-repo": "REGISTRY/cache/app", "cache-ttl": "1h"}},
		{name: "apart", parameters: map[string]string{"cache-from": `["REGISTRY/none","REGISTRY/cache"]`, "cache-to": `["REGISTRY/cache"]`}},
		{name: "the example with a claim", parameters: onVolume, patches: []string{patch}},
	} {
		for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
			t.Run(test.name+", "+shape.Name, func(t *testing.T) {
				registry, claim := serveRegistry(t), t.TempDir()
				if err := os.Chmod(claim, 0o755); err != nil {
					t.Fatal(err)
				}
				parameters := map[string]string{}
				for name, value := range test.parameters {
					parameters[name] = strings.ReplaceAll(value, "REGISTRY", registry)
				}
				parameters["image"] = registry + "/team/app:v1"
				source := archive(t, map[string]string{
					"Dockerfile": "FROM " + registry + "/base:1\nRUN head -c 16 /dev/urandom > /random\nCOPY file /\n", "file": "text\n",
				})
				cluster := node{shape: shape, claims: map[string]string{"build-cache": claim}}
				tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(parameters, source), nil)
				first := cluster.run(t, podOf(t, tmpl, test.patches...))
				second := cluster.run(t, podOf(t, tmpl, test.patches...))
				if first.exitCode != 0 || second.exitCode != 0 {
					t.Fatalf("exit codes %d and %d\n%s%s", first.exitCode, second.exitCode, first.log, second.log)
				}
				if is, was := second.outputs["image-digest"], first.outputs["image-digest"]; is != was || is == "" {
					t.Errorf("the image is %q, was %q", is, was)
				}
				for instruction, cached := range stepsOf(second.log) {
					if !cached {
						t.Errorf("%s was executed:\n%s", instruction, second.log)
					}
				}
				if steps := stepsOf(first.log); len(steps) != 2 || len(stepsOf(second.log)) != 2 || steps["RUN"] || steps["COPY"] {
					t.Errorf("the first build found %v:\n%s", steps, first.log)
				}
			})
		}
	}
}

// exampleOf has the parameters that an example gives to its build, and its podSpecPatch.
func exampleOf(t *testing.T, name string) (parameters map[string]string, patch string) {
	t.Helper()
	example := readManifests(t).workflows["examples/argo/"+name]
	if example == nil {
		t.Fatalf("the example %s is not there", name)
	}
	parameters = map[string]string{}
	for _, p := range example.Spec.Templates[0].Steps[0].Steps[0].Arguments.Parameters {
		parameters[p.Name] = p.Value.String()
	}
	return parameters, example.Spec.PodSpecPatch
}

// stepsOf says which RUN and COPY in a log were found in the cache.
func stepsOf(log string) map[string]bool {
	steps := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#(\d+) \[.*\] (RUN|COPY) `).FindAllStringSubmatch(log, -1) {
		steps[m[2]] = strings.Contains(log, "#"+m[1]+" CACHED\n")
	}
	return steps
}

// What the policy in the ConfigMap forbids is not built, one that is named must be there, and without a ConfigMap
// there is none.
func TestSourcePolicy(t *testing.T) {
	const policy = `{"version":1,"rules":[{"action":"DENY","selector":{"identifier":"docker-image://*"}}]}`
	registry := serveRegistry(t)
	source := archive(t, map[string]string{"Dockerfile": "FROM " + registry + "/base:1\n"})
	for _, test := range []struct {
		name            string
		configMaps      map[string]map[string]string
		parameters      map[string]string
		exitCode        int
		reason, message string
	}{
		{name: "none"},
		{
			name: "usual names", configMaps: map[string]map[string]string{"slipway-source-policy": {"policy.json": policy}},
			exitCode: 1, reason: "PolicyDenied", message: "Dockerfile:1: ",
		},
		{
			name: "other names", configMaps: map[string]map[string]string{"rules": {"rules.json": policy}},
			parameters: map[string]string{"source-policy-config-map": "rules", "source-policy-file": "rules.json"},
			exitCode:   1, reason: "PolicyDenied", message: "Dockerfile:1: ",
		},
		{
			name: "another name than that of the file", configMaps: map[string]map[string]string{"slipway-source-policy": {"rules.json": policy}},
			exitCode: 2, reason: "UsageError", message: "has no policy.json",
		},
		{
			name: "named and missing", parameters: map[string]string{"source-policy-file": "policy.json"},
			exitCode: 2, reason: "UsageError", message: "policy.json: no such file",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := map[string]string{"image": registry + "/team/app:v1"}
			maps.Copy(parameters, test.parameters)
			tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(parameters, source), nil)
			o := node{shape: pod.Default(), configMaps: test.configMaps}.run(t, podOf(t, tmpl))
			if o.exitCode != test.exitCode || o.outputs["error-reason"] != test.reason || !strings.Contains(o.outputs["error-message"], test.message) {
				t.Errorf("exit code %d, outputs %v\n%s", o.exitCode, o.outputs, o.log)
			}
		})
	}
}

// Images that the policy in the ConfigMap denies are not used, unless warnings are enough; without a ConfigMap there is no policy.
func TestImagePolicy(t *testing.T) {
	const reject = `{"default": [{"type": "reject"}]}`
	registry := serveRegistry(t)
	source := archive(t, map[string]string{"Dockerfile": "FROM " + registry + "/base:1\n"})
	for _, test := range []struct {
		name            string
		configMaps      map[string]map[string]string
		parameters      map[string]string
		exitCode        int
		reason, message string
		log             string
	}{
		{name: "none"},
		{
			name: "usual names", configMaps: map[string]map[string]string{"slipway-image-policy": {"policy.json": reject}},
			exitCode: 1, reason: "PolicyDenied", message: "Dockerfile:1: ",
		},
		{
			name: "other names", configMaps: map[string]map[string]string{"rules": {"rules.json": reject}},
			parameters: map[string]string{"image-policy-config-map": "rules", "image-policy-file": "rules.json"},
			exitCode:   1, reason: "PolicyDenied", message: "Dockerfile:1: ",
		},
		{
			name: "warnings", configMaps: map[string]map[string]string{"slipway-image-policy": {"policy.json": reject}},
			parameters: map[string]string{"image-policy-mode": "warn"}, log: "denied by policy",
		},
		{
			name: "a key that is missing", configMaps: map[string]map[string]string{"slipway-image-policy": {"policy.json": `{"default": [{"type": "sigstoreSigned", "keyPath": "team.pub"}]}`}},
			exitCode: 2, reason: "UsageError", message: "team.pub: no such file",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := map[string]string{"image": registry + "/team/app:v1"}
			maps.Copy(parameters, test.parameters)
			tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(parameters, source), nil)
			o := node{shape: pod.Default(), configMaps: test.configMaps}.run(t, podOf(t, tmpl))
			if o.exitCode != test.exitCode || o.outputs["error-reason"] != test.reason || !strings.Contains(o.outputs["error-message"], test.message) || !strings.Contains(o.log, test.log) {
				t.Errorf("exit code %d, outputs %v\n%s", o.exitCode, o.outputs, o.log)
			}
		})
	}
}

// The credentials in the Secret are those that a bucket is asked with, and one that cannot be used is told of.
func TestCloudCredentials(t *testing.T) {
	registry := serveRegistry(t)
	bucket := noRegistry(t) // where nobody answers
	parameters := map[string]string{"image": registry + "/team/app:v1", "cache": "true", "cache-repo": "s3://results/app"}
	source := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(parameters, source), nil)
	for _, test := range []struct {
		secret   map[string]string
		exitCode int
		log      string
	}{
		{
			map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hidden", "S3_ENDPOINT": "http://" + bucket, "S3_FORCE_PATH_STYLE": "true"},
			0, bucket,
		},
		{map[string]string{"accesskey": "a", "secretkey": "hidden"}, 2, "/var/run/slipway/cloud-credentials/accesskey: it is neither"},
	} {
		cluster := node{shape: pod.Default(), secrets: map[string]map[string]string{"slipway-cloud-credentials": test.secret}}
		o := cluster.run(t, podOf(t, tmpl))
		if o.exitCode != test.exitCode || !strings.Contains(o.log, test.log) || strings.Contains(o.log, "hidden") {
			t.Errorf("exit code %d, want %d, and %q in\n%s", o.exitCode, test.exitCode, test.log, o.log)
		}
	}
}
