package registry_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// writeLayout makes a layout with images by name.
func writeLayout(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for n, img := range images {
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": n})); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tarOf packs a directory.
func tarOf(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := errors.Join(tw.AddFS(os.DirFS(dir)), tw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeFile(t *testing.T, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(b)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestLocalImages(t *testing.T) {
	one, two := imageWith(t, amd64, "one"), imageWith(t, amd64, "two")
	dir := writeLayout(t, map[string]v1.Image{"1": one, "2": two})
	single := writeLayout(t, map[string]v1.Image{"1": one})
	tag, err := name.NewTag("example.com/app:1")
	if err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(t.TempDir(), "docker.tar")
	if err := tarball.WriteToFile(docker, tag, one); err != nil {
		t.Fatal(err)
	}
	dockerBytes, err := os.ReadFile(docker)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := two.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, registry.Options{Layouts: map[string]string{
		"dir": dir, "single": single, "docker": docker,
		"oci-tar":   writeFile(t, tarOf(t, dir)),
		"oci-tgz":   writeFile(t, gzipped(t, tarOf(t, dir))),
		"docker-gz": writeFile(t, gzipped(t, dockerBytes)),
		"junk":      writeFile(t, []byte("junk")),
		"empty-tar": writeFile(t, make([]byte, 1024)),
		"missing":   "/nonexistent",
		"no-layout": t.TempDir(),
	}})
	for _, test := range []struct {
		store, id, want string // want "" for an error
		kind            registry.Kind
	}{
		{"dir", "1", "one", 0},
		{"dir", "2", "two", 0},
		{"dir", digest.String(), "two", 0},
		{"dir", "3", "", registry.NotFound},
		{"dir", "", "", registry.NotFound}, // which one?
		{"dir", "sha256:" + strings.Repeat("0", 64), "", registry.NotFound},
		{"single", "", "one", 0},
		{"oci-tar", "2", "two", 0},
		{"oci-tgz", digest.String(), "two", 0},
		{"docker", "", "one", 0},
		{"docker", "example.com/app:1", "one", 0},
		{"docker", "x", "", registry.NotFound},
		{"docker-gz", "", "one", 0},
		{"junk", "", "", registry.Invalid},
		{"empty-tar", "", "", registry.Unsupported},
		{"missing", "", "", registry.Other},
		{"no-layout", "", "", registry.Unsupported},
		{"unheard of", "", "", registry.NotFound},
	} {
		t.Run(test.store+" "+test.id, func(t *testing.T) {
			img, err := c.ResolveLayout(t.Context(), test.store, test.id, amd64)
			if test.want == "" {
				if k := kindOf(t, err); k != test.kind {
					t.Errorf("kind %d, want %d: %v", k, test.kind, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t.Context(), t, c, &op.Image{Ref: img.Ref, Platform: amd64, Layout: test.store})
			if err != nil || got != test.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// The frontend hands over a name that means nothing, a digest, and the store.
func TestResolveImageInLayout(t *testing.T) {
	img := imageWith(t, amd64, "one")
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, registry.Options{Layouts: map[string]string{"store": writeLayout(t, map[string]v1.Image{"1": img})}})
	for _, ref := range []string{"docker.io/library/base@" + digest.String(), "docker.io/library/base:1", "base"} {
		pinned, dgst, _, err := c.ResolveImage(t.Context(), ref, amd64, "", "store")
		if err != nil || dgst.String() != digest.String() || !strings.HasSuffix(pinned, "@"+digest.String()) {
			t.Errorf("%s: %s, %s, %v", ref, pinned, dgst, err)
		}
	}
}

func TestDamagedLayout(t *testing.T) {
	img := imageWith(t, amd64, "one")
	for file, change := range map[string]func(p string) error{
		"layer":    func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) },
		"manifest": func(p string) error { return os.WriteFile(p, []byte("{}"), 0o600) },
		"config":   os.Remove,
	} {
		t.Run(file, func(t *testing.T) {
			dir := writeLayout(t, map[string]v1.Image{"1": img})
			m, err := img.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			d, err := img.Digest()
			if err != nil {
				t.Fatal(err)
			}
			hex := map[string]string{"layer": m.Layers[0].Digest.Hex, "manifest": d.Hex, "config": m.Config.Digest.Hex}[file]
			if err := change(filepath.Join(dir, "blobs", "sha256", hex)); err != nil {
				t.Fatal(err)
			}
			c := newClient(t, registry.Options{Layouts: map[string]string{"s": dir}})
			got, err := c.ResolveLayout(t.Context(), "s", "1", amd64)
			if err == nil {
				_, err = read(t.Context(), t, c, &op.Image{Ref: got.Ref, Platform: amd64, Layout: "s"})
			}
			if err == nil {
				t.Error("nobody noticed")
			}
		})
	}
}

// A layout in a context can hold links; they must not lead out of it.
func TestLayoutLinksStayInside(t *testing.T) {
	img := imageWith(t, amd64, "one")
	dir := writeLayout(t, map[string]v1.Image{"1": img})
	outside := writeFile(t, []byte(`{"schemaVersion":2,"manifests":[]}`))
	index := filepath.Join(dir, "index.json")
	if err := errors.Join(os.Remove(index), os.Symlink(outside, index)); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, registry.Options{Layouts: map[string]string{"s": dir}})
	if _, err := c.ResolveLayout(t.Context(), "s", "1", amd64); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("got %v", err)
	}
}

// "docker save" before version 25 stored a layer that several images share once and linked to it.
func TestDockerArchiveWithLinkedLayers(t *testing.T) {
	img := imageWith(t, amd64, "same", "same")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		_, werr := 0, tw.WriteHeader(&h)
		_, err := tw.Write(content)
		if err := errors.Join(werr, err); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "aa/layer.tar"}, layer)
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bb/layer.tar", Linkname: "../aa/layer.tar"}, nil)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "config.json"}, config)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "manifest.json"}, []byte(`[{"Config":"config.json","RepoTags":null,"Layers":["aa/layer.tar","bb/layer.tar"]}]`))
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, registry.Options{Layouts: map[string]string{"s": writeFile(t, b.Bytes())}})
	got, err := c.ResolveLayout(t.Context(), "s", "", amd64)
	if err != nil {
		t.Fatal(err)
	}
	content, err := read(t.Context(), t, c, &op.Image{Ref: got.Ref, Platform: amd64, Layout: "s"})
	if err != nil || content != "same" {
		t.Errorf("got %q, %v", content, err)
	}
}

func TestArchiveFromSkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	dir := writeLayout(t, map[string]v1.Image{"1": imageWith(t, amd64, "one")})
	for _, format := range []string{"docker-archive", "oci-archive", "oci"} {
		t.Run(format, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "image")
			cmd := exec.Command(skopeo, "--insecure-policy", "copy", "oci:"+dir+":1", format+":"+to+":app:1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			c := newClient(t, registry.Options{Layouts: map[string]string{"s": to}})
			img, err := c.ResolveLayout(t.Context(), "s", "", amd64)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := read(t.Context(), t, c, &op.Image{Ref: img.Ref, Platform: amd64, Layout: "s"}); got != "one" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
