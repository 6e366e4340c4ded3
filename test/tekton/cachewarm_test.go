package tekton_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// warming has a value for everything that the Task slipway-cache-warm takes.
func warming() build {
	return build{
		task: "slipway-cache-warm",
		params: map[string]any{
			"IMAGES": []string{"REGISTRY/base:1"}, "DOCKERFILE": "app/Dockerfile", "BUILD_ARGS": []string{"BASE=REGISTRY/other:1"},
			"PLATFORMS": []string{"linux/amd64"}, "CACHE_TTL": "24h", "FORCE": "true", "TLS_VERIFY": "true",
			"INSECURE_REGISTRIES": []string{"REGISTRY"}, "REGISTRY_CERTIFICATES": []string{"r.example.com=ca"},
			"REGISTRY_MIRRORS": []string{"mirror.example.com"}, "REGISTRY_MAP": []string{"quay.io=mirror.example.com/quay"},
			"EXTRA_ARGS": []string{"--image=REGISTRY/third:1"}, "BUILDER_IMAGE": slipwayImage,
		},
		source:     map[string]string{"app/Dockerfile": "ARG BASE\nFROM $BASE\n"},
		workspaces: map[string]map[string]string{"dockerconfig": {"config.json": `{"auths":{}}`}, "sslcertdir": {"of-nobody": ""}},
		claims:     []string{"base-images"},
		flags:      map[string]string{"set-security-context": "true"},
	}
}

func warms() []build {
	return []build{warming(), {task: "slipway-cache-warm", claims: []string{"base-images"}}}
}

func TestPodOfWarmTask(t *testing.T) {
	all := warming()
	all.private = true
	p := podOf(t, all)
	want := []string{
		"cache", "warm", "--cache-dir=/workspace/base-images", "--context=/workspace/source", "--dockerfile=app/Dockerfile", "--cache-ttl=24h", "--force=true", "--tls-verify=true",
		"--docker-config=/workspace/dockerconfig", "--registry-certificates-dir=/workspace/sslcertdir",
		"--images", "registry.example.com/base:1", "--build-args", "BASE=registry.example.com/other:1", "--platforms", "linux/amd64", "--insecure-registries", "registry.example.com",
		"--registry-certificates", "r.example.com=ca", "--registry-mirrors", "mirror.example.com", "--registry-maps", "quay.io=mirror.example.com/quay",
		"--extra-args", "--image=registry.example.com/third:1",
	}
	step := p.Spec.Containers[0]
	i := slices.Index(step.Args, "cache")
	if i < 0 || !slices.Equal(step.Args[i:], want) {
		t.Errorf("arguments\n%q\nwant\n%q", step.Args, want)
	}
	mounts := map[string]string{
		"/workspace/base-images": "claim base-images", "/workspace/source": "claim source", "/workspace/dockerconfig": "secret dockerconfig",
		"/workspace/sslcertdir": "secret sslcertdir", "/tmp": "empty",
	}
	if got := ownMounts(t, p, step); !maps.Equal(got, mounts) {
		t.Errorf("mounted are %v, want %v", got, mounts)
	}
}

// TestWarmAndBuild fills a volume, from which a build takes its base image where the registry has none.
func TestWarmAndBuild(t *testing.T) {
	registry := serve(t)
	volume := t.TempDir()
	if err := os.Chmod(volume, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other:1", "third:1"} {
		if _, err := registry.Push(t.Context(), name, shared.base); err != nil {
			t.Fatal(err)
		}
	}
	b := warming()
	b.claimDirs = map[string]string{"base-images": volume}
	o := b.runAt(t, registry.Host)
	if o.step.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.step.ExitCode, o.log())
	}
	data, err := os.ReadFile(filepath.Join(volume, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range index.Manifests {
		names = append(names, strings.TrimPrefix(m.Annotations["org.opencontainers.image.ref.name"], registry.Host+"/"))
	}
	if want := []string{"base:1", "other:1", "third:1"}; !slices.Equal(names, want) {
		t.Errorf("the volume has %q, want %q", names, want)
	}

	// Another registry, which never had this repository.
	c := warmed("REGISTRY/gone@" + index.Manifests[0].Digest.String())
	c.claimDirs = map[string]string{"base-images": volume}
	o = c.run(t)
	o.succeeded(t)
	o.pushed(t, image, nil)
}

// warmed is a build that finds its base image in a volume.
func warmed(base string) build {
	return build{
		params: map[string]any{"IMAGE": image, "SOURCE_DATE_EPOCH": "0"},
		source: map[string]string{"Dockerfile": "FROM " + base + "\nRUN cat /etc/passwd > /users\nCOPY file /\n", "file": "text\n"},
		claims: []string{"base-images"},
	}
}

// TestWarmedBuild takes its base image from the volume, and from the registry only what its tag stands for.
func TestWarmedBuild(t *testing.T) {
	for _, seccomp := range both() {
		t.Run(isolationOf(seccomp), func(t *testing.T) {
			registry := distribution.Serve(t)
			if err := remote.Write(reference(t, registry.Host+"/base:1"), shared.base, remote.WithContext(t.Context())); err != nil {
				t.Fatal(err)
			}
			// fetched has what a build asked the registry for of the base image, and the digest of what it made.
			fetched := func(b build) ([]string, string) {
				t.Helper()
				before := len(registry.Log())
				b.seccomp = seccomp
				o := b.runAt(t, registry.Host)
				o.succeeded(t)
				checkIsolation(t, o, seccomp)
				var asked []string
				for _, m := range regexp.MustCompile(`"GET /v2/base/(\S+)`).FindAllStringSubmatch(registry.Log()[before:], -1) {
					asked = append(asked, m[1])
				}
				return asked, o.results["IMAGE_DIGEST"]
			}
			b := warmed("REGISTRY/base:1")
			b.claims = nil
			asked, cold := fetched(b)
			if !slices.ContainsFunc(asked, isBlob) {
				t.Fatalf("without the volume, the build asked for %q", asked)
			}

			volume := t.TempDir()
			if err := os.Chmod(volume, 0o777); err != nil {
				t.Fatal(err)
			}
			w := build{task: "slipway-cache-warm", params: map[string]any{"IMAGES": []string{"REGISTRY/base:1"}}, claims: []string{"base-images"}}
			w.claimDirs = map[string]string{"base-images": volume}
			if o := w.runAt(t, registry.Host); o.step.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s", o.step.ExitCode, o.log())
			}

			b = warmed("REGISTRY/base:1")
			b.claimDirs = w.claimDirs
			asked, digest := fetched(b)
			if want := []string{"manifests/1"}; !slices.Equal(asked, want) {
				t.Errorf("the build asked for %q, want %q", asked, want)
			}
			if digest != cold {
				t.Errorf("the image is %s, and %s without the volume", digest, cold)
			}
		})
	}
}

func isBlob(request string) bool { return strings.HasPrefix(request, "blobs/") }
