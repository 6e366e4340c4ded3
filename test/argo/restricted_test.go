package argo

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/test/pod"
)

// usersOf is a Dockerfile whose steps run as several users and give files to further ones, with its source.
func usersOf(registry string) map[string]string {
	return map[string]string{
		"Dockerfile": "FROM " + registry + `/base:1
RUN mkdir /made && echo "$(id -u):$(id -g)" > /made/root && chown 1234:4321 /made/root && chmod 640 /made/root
RUN mkdir /made/home && chown demo:demo /made/home && touch /made/setuid && chmod 4755 /made/setuid
USER demo
RUN echo "$(id -u):$(id -g)" > /made/home/demo && ! cat /made/root 2> /dev/null
RUN --mount=type=secret,id=token,uid=1000 cat /run/secrets/token > /made/home/secret
USER 2345:5432
WORKDIR /tmp
RUN echo "$(id -u):$(id -g)" > /tmp/numbers
USER root
COPY --chown=3456:6543 file /made/copied
`,
		"file": "from the source\n",
	}
}

// ownersOf are owner and mode of the regular files in the layers of an image, by name.
func ownersOf(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	owners := map[string]string{}
	for _, l := range layers {
		if err := testbase.EachEntry(l, func(h *tar.Header, _ []byte) {
			if h.Typeflag == tar.TypeReg {
				owners[h.Name] = fmt.Sprintf("%d:%d %o", h.Uid, h.Gid, h.Mode&0o7777)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return owners
}

// restrictedExample gives the arguments of the example, for an image and a source of the test.
func restrictedExample(t *testing.T, image string, source wfv1.Artifact) wfv1.Arguments {
	t.Helper()
	const path = "examples/argo/restricted.yaml"
	example := readManifests(t).workflows[path]
	if example == nil {
		t.Fatalf("no workflow in %s", path)
	}
	arguments := example.Spec.Templates[0].Steps[0].Steps[0].Arguments
	for i, p := range arguments.Parameters {
		if p.Name == "image" {
			arguments.Parameters[i].Value = wfv1.AnyStringPtr(image)
		}
	}
	arguments.Artifacts = wfv1.Artifacts{source}
	return arguments
}

// The example for restricted namespaces builds as an ordinary user what only root could build otherwise. Argo's own
// containers have no privilege there either.
func TestRestricted(t *testing.T) {
	registry := serveRegistry(t)
	image := registry + "/team/app:v1"
	arguments := restrictedExample(t, image, archive(t, usersOf(registry)))
	spec := podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil))
	cluster := node{shape: pod.Restricted(), secrets: map[string]map[string]string{"slipway-run-secret": {"token": "t0k3n"}}}
	o := cluster.run(t, spec)
	if o.exitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
	}
	digest := descriptorOf(t, image).Digest.String()
	want := map[string]string{
		"image-url": image, "image-digest": digest, "image-ref": image + "@" + digest, "images": image + "@" + digest,
		"base-images": baseOf(t, registry), "sbom-blob-url": "", "error-reason": "", "error-message": "",
	}
	if !maps.Equal(o.outputs, want) {
		t.Errorf("outputs\n%v\nwant\n%v", o.outputs, want)
	}
	made := imageOf(t, image)
	files, owners := filesOf(t, made), ownersOf(t, made)
	for name, want := range map[string][2]string{
		"made/root":        {"0:0\n", "1234:4321 640"},
		"made/setuid":      {"", "0:0 4755"},
		"made/home/demo":   {"1000:1000\n", "1000:1000 644"},
		"made/home/secret": {"t0k3n", "1000:1000 644"},
		"tmp/numbers":      {"2345:5432\n", "2345:5432 644"},
		"made/copied":      {"from the source\n", "3456:6543 644"},
	} {
		if got := [2]string{files[name], owners[name]}; got != want {
			t.Errorf("%s has the content and owner %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(o.log, "sandbox") {
		t.Errorf("the log does not say how RUN was isolated:\n%s", o.log)
	}
	checkProgress(t, o)
}

// What fails in a RUN is told as elsewhere, and an isolation that such a pod does not have is refused.
func TestRestrictedFails(t *testing.T) {
	registry := serveRegistry(t)
	for _, test := range []struct {
		isolation string
		exitCode  int
		reason    string
	}{
		{"auto", 7, "RunFailed"},
		{"namespace", 77, "IsolationUnavailable"},
		{"inplace", 77, "IsolationUnavailable"},
	} {
		t.Run(test.isolation, func(t *testing.T) {
			arguments := argumentsOf(map[string]string{"image": registry + "/app:1", "restricted": "true", "isolation": test.isolation},
				archive(t, map[string]string{"Dockerfile": "FROM " + registry + "/base:1\nRUN exit 7\n"}))
			o := node{shape: pod.Restricted()}.run(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)))
			if o.exitCode != test.exitCode || o.outputs["error-reason"] != test.reason || !strings.Contains(o.outputs["error-message"], "Dockerfile:2") {
				t.Errorf("exit code %d, outputs %v\n%s", o.exitCode, o.outputs, o.log)
			}
		})
	}
}

// A claim that a podSpecPatch mounts, and that the user may write to, keeps the cache.
func TestRestrictedCache(t *testing.T) {
	registry := serveRegistry(t)
	claim := t.TempDir()
	if err := os.Chown(claim, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	const patch = `{"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}],
		"containers": [{"name": "main", "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}]}`
	source := archive(t, usersOf(registry))
	digests := []string{}
	for range 2 {
		arguments := argumentsOf(map[string]string{
			"image": registry + "/team/app:v1", "restricted": "true", "cache": "true", "cache-repo": "/cache",
		}, source)
		cluster := node{
			shape: pod.Restricted(), claims: map[string]string{"cache": claim},
			secrets: map[string]map[string]string{"slipway-run-secret": {"token": "t0k3n"}},
		}
		o := cluster.run(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil), patch))
		if o.exitCode != 0 {
			t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
		}
		digests = append(digests, o.outputs["image-digest"])
		if cached := strings.Contains(o.log, "CACHED"); cached != (len(digests) == 2) {
			t.Errorf("build %d used the cache: %t\n%s", len(digests), cached, o.log)
		}
	}
	if digests = slices.Compact(digests); len(digests) != 1 {
		t.Errorf("out of the cache came another image: %q", digests)
	}
}

// multi-arch hands the parameter on to its builds.
func TestRestrictedMultiArch(t *testing.T) {
	registry := serveRegistry(t)
	arguments := argumentsOf(map[string]string{"image": registry + "/team/app:v1", "restricted": "true"},
		archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY file /\n", "file": "text\n"}))
	pods, outputs := runSteps(t, node{shape: pod.Restricted()}, slipway(t), "multi-arch", arguments)
	for _, p := range pods {
		if p.outcome.exitCode != 0 {
			t.Fatalf("%s: exit code %d\n%s", p.step, p.outcome.exitCode, p.outcome.log)
		}
		if uid := mainOf(t, p.spec).SecurityContext.RunAsUser; uid == nil || *uid != 65532 {
			t.Errorf("%s runs as %v", p.step, uid)
		}
	}
	if digest := descriptorOf(t, registry+"/team/app:v1").Digest.String(); len(pods) != 3 || outputs["image-digest"] != digest {
		t.Errorf("%d pods, outputs %v; the registry has %s", len(pods), outputs, digest)
	}
}
