package tekton_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// warming has a value for everything that the Task slipway-cache-warm takes.
func warming() build {
	return build{
		task: "slipway-cache-warm",
		params: map[string]any{
			"IMAGES": []string{"REGISTRY/base:1"}, "DOCKERFILE": "app/Dockerfile", "BUILD_ARGS": []string{"BASE=REGISTRY/other:1"},
			"PLATFORMS": []string{"linux/amd64"}, "CACHE_TTL": "24h", "FORCE": "true", "TLS_VERIFY": "true",
			"INSECURE_REGISTRIES": []string{"REGISTRY"}, "REGISTRY_CERTIFICATES": []string{"r.example.com=ca"},
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
		"--registry-certificates", "r.example.com=ca", "--extra-args", "--image=registry.example.com/third:1",
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
	source := map[string]string{"Dockerfile": "FROM REGISTRY/gone@" + index.Manifests[0].Digest.String() + "\nCOPY file /\n", "file": "text\n"}
	for _, pattern := range []string{"oci-layout", "blobs/sha256/*"} {
		files, err := filepath.Glob(filepath.Join(volume, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			content, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source["cache/"+strings.TrimPrefix(f, volume+"/")] = string(content)
		}
	}
	c := build{params: map[string]any{"IMAGE": image, "EXTRA_ARGS": []string{warmDirFlag}}, source: source}
	o = c.run(t)
	o.succeeded(t)
	o.pushed(t, image, nil)
}

// warmDirFlag has a build take base images from where TestWarmAndBuild keeps them.
const warmDirFlag = "--cache-dir=/workspace/source/cache"
