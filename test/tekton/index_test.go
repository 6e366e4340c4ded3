package tekton_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/test/pod"
)

// legs are the references that the legs of a matrix would give.
func legs() []string { return []string{"REGISTRY/team/app:v1-amd64", "REGISTRY/team/app:v1-arm64"} }

// join joins the images of the legs.
func join() build {
	return build{
		task: "slipway-index",
		params: map[string]any{
			"IMAGE": image, "IMAGES": legs(), "TAGS": []string{"REGISTRY/team/app:latest"}, "PLATFORMS": []string{"linux/amd64", "linux/arm64"},
			"ANNOTATIONS": []string{"a=1"}, "EXTRA_ARGS": []string{"--annotation=b=2"}, "BUILDER_IMAGE": debugImage,
		},
		flags: map[string]string{"set-security-context": "true"},
	}
}

func joins() []build { return []build{join()} }

// TestMultiArch builds for two platforms, in two TaskRuns as those of a matrix, and joins what their results name in
// a third one, whose pod has no permission at all.
func TestMultiArch(t *testing.T) {
	host := serve(t).Host
	var refs []string
	for i, platform := range []string{"amd64", "arm64"} {
		leg := build{
			params: map[string]any{"IMAGE": legs()[i], "PLATFORM": "linux/" + platform},
			source: map[string]string{"Dockerfile": scratch, "file": platform},
		}
		o := leg.runAt(t, host)
		o.succeeded(t)
		o.pushed(t, legs()[i], nil)
		refs = append(refs, o.results["IMAGE_REF"])
	}
	b := join()
	b.params["IMAGES"] = refs
	o := b.runAt(t, host)
	o.succeeded(t)
	descriptor := o.pushed(t, image, []string{"REGISTRY/team/app:latest"})
	var index v1.IndexManifest
	if err := json.Unmarshal(descriptor.Manifest, &index); err != nil {
		t.Fatal(err)
	}
	if index.Annotations["a"] != "1" || index.Annotations["b"] != "2" {
		t.Errorf("annotations %v", index.Annotations)
	}
	var got []string
	for i, m := range index.Manifests {
		got = append(got, m.Platform.String()+" "+fill(legs()[i], host)+"@"+m.Digest.String())
	}
	if want := []string{"linux/amd64 " + refs[0], "linux/arm64 " + refs[1]}; !slices.Equal(got, want) {
		t.Errorf("the index has %q, want %q", got, want)
	}
	if raw := skopeo(t, "inspect", "--raw", "--tls-verify=false", "docker://"+o.results["IMAGE_URL"]); !bytes.Equal(raw, descriptor.Manifest) {
		t.Errorf("skopeo reads %s", raw)
	}
}

// TestMissingPlatform pushes nothing if a leg is missing.
func TestMissingPlatform(t *testing.T) {
	host := serve(t).Host
	pushPart(t, host)
	b := join()
	b.params["IMAGES"] = []string{"REGISTRY/part:1"}
	b.params["PLATFORMS"] = []string{"linux/amd64", "linux/arm64", "linux/s390x"}
	o := b.runAt(t, host)
	if o.step.ExitCode == 0 || o.results["ERROR_REASON"] == "" || o.results["IMAGE_DIGEST"] != "" {
		t.Errorf("exit code %d, results %q\n%s", o.step.ExitCode, o.results, o.log())
	}
	o.notPushed(t, image)
}

// skopeo runs the program of that name, and gives what it writes.
func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		if os.Getenv(pod.RequireToolsEnv) != "" {
			t.Fatal(err)
		}
		t.Skip("skopeo is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "skopeo", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo: %v\n%s", err, stderr.Bytes())
	}
	return out
}
