package argo

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/test/pod"
)

// A pod without any permission fills the volume of a claim. One image that does not exist does not matter; if none does, the
// step fails.
func TestCacheWarm(t *testing.T) {
	registry := serveRegistry(t)
	claim := t.TempDir()
	if err := os.Chmod(claim, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		images string
		code   int
		said   string
	}{
		{`["` + registry + `/base:1","` + registry + `/none:1"]`, 0, "1 of 2 base images could not be fetched"},
		{`["` + registry + `/none:1"]`, 1, registry + "/none:1"},
	} {
		tmpl := instance(t, templateNamed(t, slipway(t), "cache-warm"), values(map[string]string{
			"images": test.images, "claim": "base-images", "platforms": `["linux/amd64"]`,
		}), nil)
		o := node{shape: pod.Restricted(), claims: map[string]string{"base-images": claim}}.run(t, podOf(t, tmpl))
		if o.exitCode != test.code || !strings.Contains(o.log, test.said) {
			t.Errorf("%s: exit code %d\n%s", test.images, o.exitCode, o.log)
		}
	}
	index, err := os.ReadFile(filepath.Join(claim, "index.json"))
	if err != nil || !strings.Contains(string(index), registry+"/base:1") {
		t.Errorf("index.json is %s, %v", index, err)
	}
}

// A build with the example's podSpecPatch, which mounts the claim read-only, fetches only a manifest of its base image.
func TestWarmedBuild(t *testing.T) {
	warmed, patch := exampleOf(t, "base-images.yaml")
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			registry := distribution.Serve(t)
			pushBase(t, registry.Host)
			claim := t.TempDir()
			if err := os.Chmod(claim, 0o777); err != nil {
				t.Fatal(err)
			}
			source := archive(t, map[string]string{"Dockerfile": "FROM " + registry.Host + "/base:1\nRUN cat /etc/passwd > /users\nCOPY Dockerfile /\n"})
			// fetched has what a build asked the registry for of the base image, and the digest of what it made.
			fetched := func(parameters map[string]string, patches ...string) ([]string, string) {
				t.Helper()
				before := len(registry.Log())
				parameters = maps.Clone(parameters)
				parameters["image"], parameters["source-date-epoch"] = registry.Host+"/team/app:v1", "0"
				tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(parameters, source), nil)
				o := node{shape: shape, claims: map[string]string{"base-images": claim}}.run(t, podOf(t, tmpl, patches...))
				if o.exitCode != 0 || !strings.Contains(o.log, "isolation: "+isolations()[shape.Name]) {
					t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
				}
				var asked []string
				for _, m := range regexp.MustCompile(`"GET /v2/base/(\S+)`).FindAllStringSubmatch(registry.Log()[before:], -1) {
					asked = append(asked, m[1])
				}
				return asked, o.outputs["image-digest"]
			}
			asked, cold := fetched(map[string]string{})
			if !slices.ContainsFunc(asked, func(request string) bool { return strings.HasPrefix(request, "blobs/") }) {
				t.Fatalf("without the directory, the build asked for %q", asked)
			}
			tmpl := instance(t, templateNamed(t, slipway(t), "cache-warm"), values(map[string]string{
				"images": `["` + registry.Host + `/base:1"]`, "claim": "base-images",
			}), nil)
			if o := (node{shape: pod.Restricted(), claims: map[string]string{"base-images": claim}}).run(t, podOf(t, tmpl)); o.exitCode != 0 {
				t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
			}
			asked, digest := fetched(warmed, patch)
			if want := []string{"manifests/1"}; !slices.Equal(asked, want) {
				t.Errorf("the build asked for %q, want %q", asked, want)
			}
			if digest != cold {
				t.Errorf("the image is %s, and %s without the directory", digest, cold)
			}
		})
	}
}
