package output_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/tree"
)

// treeOf is a stack of layers with one file each.
func treeOf(t *testing.T, names ...string) *tree.Tree {
	t.Helper()
	var layers []layer.Layer
	for _, n := range names {
		layers = append(layers, layerOf(t, file(n, strings.Repeat(n, 100))))
	}
	return tree.New(layers...)
}

// damage overwrites a blob in the state directory.
func damage(t *testing.T, st string, digest v1.Hash) {
	t.Helper()
	p := filepath.Join(st, "blobs", digest.Algorithm+"-"+digest.Hex)
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDockerArchive(t *testing.T) {
	for _, algorithm := range []compression.Algorithm{compression.Gzip, compression.None, compression.Zstd} {
		t.Run(algorithm.String(), func(t *testing.T) {
			b := build(t, image.Spec{
				Platforms: []image.Platform{{Platform: amd64, Tree: treeOf(t, "one", "two")}},
				Options:   image.Options{Compression: compression.Options{Algorithm: algorithm}},
			})
			p := filepath.Join(t.TempDir(), "image.tar")
			o := must[*output.Archive](t)(output.NewArchive(p, nil, []string{"app:1", "registry.example/app"}, true))
			must[*output.Result](t)(write(t, o, b))

			tag := must[name.Tag](t)(name.NewTag("app:1"))
			img := must[v1.Image](t)(tarball.ImageFromPath(p, &tag))
			config := must[v1.Hash](t)(img.ConfigName())
			if want := must[v1.Hash](t)(b.Images()[0].ConfigName()); config != want {
				t.Errorf("config is %s, want %s", config, want)
			}
			m := must[tarball.Manifest](t)(tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(p) }))
			if !slices.Equal(m[0].RepoTags, []string{"app:1", "registry.example/app:latest"}) {
				t.Errorf("tags are %v", m[0].RepoTags)
			}
			out := t.TempDir()
			skopeo(t, "copy", "docker-archive:"+p+":app:1", "dir:"+out)
			skopeo(t, "inspect", "oci-archive:"+p+":1")
		})
	}
}

func TestOCIArchive(t *testing.T) {
	b := simple(t, []layer.Layer{layerOf(t, file("x", "y"))}, amd64, arm)
	p := filepath.Join(t.TempDir(), "image.tar")
	o := must[*output.Archive](t)(output.NewArchive(p, nil, []string{"app:1"}, false))
	must[*output.Result](t)(write(t, o, b))
	raw := skopeo(t, "inspect", "--raw", "oci-archive:"+p+":1")
	if want := string(must[[]byte](t)(b.Index().RawManifest())); strings.TrimSpace(raw) != want {
		t.Errorf("skopeo sees\n%s\nwant\n%s", raw, want)
	}
	if info := must[os.FileInfo](t)(os.Stat(p)); info.Mode().Perm()&0o400 == 0 || info.Mode().Perm()&0o111 != 0 {
		t.Errorf("mode is %s", info.Mode())
	}
}

func TestArchivesAreDeterministic(t *testing.T) {
	b := app(t)
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		o := must[*output.Archive](t)(output.NewArchive("-", w, []string{"app:1"}, true))
		if res := must[*output.Result](t)(write(t, o, b)); res.Path != "-" {
			t.Errorf("result %+v", res)
		}
	}
	if first.Len() == 0 || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("%d bytes, then %d other ones", first.Len(), second.Len())
	}
}

func TestDockerArchivesHoldOneImage(t *testing.T) {
	b := simple(t, []layer.Layer{layerOf(t, file("x", "y"))}, amd64, arm)
	o := must[*output.Archive](t)(output.NewArchive("-", io.Discard, nil, true))
	if _, err := write(t, o, b); err == nil || !strings.Contains(err.Error(), "type=oci") {
		t.Errorf("got %v", err)
	}
}

func TestAFileReplacesAFileButNoDirectory(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "old.tar")
	if err := os.WriteFile(p, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	must[*output.Result](t)(write(t, output.NewTar(p, nil), app(t)))
	if b := must[[]byte](t)(os.ReadFile(p)); len(b) < 1024 {
		t.Errorf("it still has %d bytes", len(b))
	}
	if _, err := write(t, output.NewTar(dir, nil), app(t)); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("got %v", err)
	}
}

func TestRootfsTar(t *testing.T) {
	b := simple(t, []layer.Layer{
		layerOf(t, file("gone", "x"), file("a/b", "old"), entry(layer.Entry{Path: "a/hard", Type: layer.Hardlink, Link: "a/b"})),
		layerOf(t, entry(layer.Entry{Path: "gone", Type: layer.Whiteout}), entry(layer.Entry{Path: "s", Type: layer.Symlink, Link: "a", Mode: 0o777})),
	}, amd64)
	var out bytes.Buffer
	must[*output.Result](t)(write(t, output.NewTar("-", &out), b))
	var got []string
	for tr := tar.NewReader(&out); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(h.Typeflag)+" "+h.Name+" "+h.Linkname)
	}
	want := []string{"5 a/ ", "0 a/b ", "1 a/hard a/b", "2 s a"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
