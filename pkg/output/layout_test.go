package output_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/registry"
)

// refNames are the names in a layout's index.json, with the digests.
func refNames(t *testing.T, dir string) map[string]v1.Hash {
	t.Helper()
	x, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := x.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]v1.Hash{}
	for _, d := range m.Manifests {
		out[d.Annotations["org.opencontainers.image.ref.name"]] = d.Digest
	}
	return out
}

func TestLayout(t *testing.T) {
	b := app(t)
	dir := filepath.Join(t.TempDir(), "deep", "layout")
	o := must[*output.Layout](t)(output.NewLayout(dir, []string{"registry.example/app:1", "registry.example/app:2"}))
	if res := must[*output.Result](t)(write(t, o, b)); res.Path != dir {
		t.Errorf("result %+v", res)
	}
	names := refNames(t, dir)
	if len(names) != 2 || names["1"] != b.Digest() || names["2"] != b.Digest() {
		t.Errorf("names are %v", names)
	}
	x := must[v1.ImageIndex](t)(layout.ImageIndexFromPath(dir))
	if err := validate.Index(x); err != nil {
		t.Error(err)
	}
	for p := range list(t, dir) {
		if strings.Contains(p, ".slipway") {
			t.Errorf("%s was left", p)
		}
	}
}

func TestLayoutIsAddedTo(t *testing.T) {
	first, second := app(t), simple(t, []layer.Layer{layerOf(t, file("x", "y"))}, amd64)
	dir := t.TempDir()
	into := func(b *image.Built, names ...string) {
		t.Helper()
		o := must[*output.Layout](t)(output.NewLayout(dir, names))
		must[*output.Result](t)(write(t, o, b))
	}
	into(first, "a:1")
	into(second, "a:2")
	if n := refNames(t, dir); n["1"] != first.Digest() || n["2"] != second.Digest() {
		t.Errorf("names are %v", n)
	}
	into(second, "a:1")
	if n := refNames(t, dir); len(n) != 2 || n["1"] != second.Digest() {
		t.Errorf("a name did not move: %v", n)
	}
	into(first)
	into(first)
	if n := refNames(t, dir); len(n) != 3 || n[""] != first.Digest() {
		t.Errorf("without a name: %v", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := must[*output.Layout](t)(output.NewLayout(dir, nil))
	if _, err := write(t, o, first); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

// broken is an image whose second layer cannot be read any more when it is written.
func broken(t *testing.T) *image.Built {
	t.Helper()
	st := openState(t)
	b, err := image.Build(t.Context(), image.Spec{Platforms: []image.Platform{{Platform: amd64, Tree: treeOf(t, "one", "two")}}}, layer.NewWriter(t.Context(), st))
	if err != nil {
		t.Fatal(err)
	}
	damage(t, st.Path(), b.Images()[0].List()[1].Digest)
	return b
}

func TestNothingIsLeftOfAFailedOutput(t *testing.T) {
	for name, newOutput := range map[string]func(dest string) (output.Output, error){
		"layout": func(dest string) (output.Output, error) { return output.NewLayout(dest, nil) },
		"oci":    func(dest string) (output.Output, error) { return output.NewArchive(dest, nil, nil, false) },
		"docker": func(dest string) (output.Output, error) { return output.NewArchive(dest, nil, nil, true) },
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			o, err := newOutput(filepath.Join(parent, "new", "dest"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := write(t, o, broken(t)); err == nil {
				t.Fatal("it succeeded")
			}
			if left := list(t, parent); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestAFailedOutputLeavesAnOldLayoutAlone(t *testing.T) {
	dir := t.TempDir()
	o := must[*output.Layout](t)(output.NewLayout(dir, []string{"a:1"}))
	must[*output.Result](t)(write(t, o, app(t)))
	before := list(t, dir)
	if _, err := write(t, o, broken(t)); err == nil {
		t.Fatal("it succeeded")
	}
	after := list(t, dir)
	for p, content := range after {
		if before[p] != content {
			t.Errorf("%s is new or changed", p)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
}

// If one of several outputs fails, none becomes visible.
func TestOutputsSucceedTogetherOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	s := serve(t)
	s.interceptWith(denyAll)
	oci := must[*output.Archive](t)(output.NewArchive(filepath.Join(dir, "a.tar"), nil, nil, false))
	push := must[*output.Registry](t)(output.NewRegistry(newClient(t), []string{s.host + "/a:1"}, false))
	local := output.NewLocal(filepath.Join(dir, "out"), nil)
	var stdout strings.Builder
	stream := output.NewTar("-", &stdout)
	b := app(t)
	_, err := output.Write(t.Context(), output.Job{Output: stream, Image: b}, output.Job{Output: oci, Image: b},
		output.Job{Output: local, Image: b}, output.Job{Output: push, Image: b})
	var e *registry.Error
	if !errors.As(err, &e) || e.Kind != registry.Unauthorized {
		t.Errorf("got %v", err)
	}
	if left := list(t, dir); len(left) != 0 || stdout.Len() != 0 {
		t.Errorf("left: %v, %d bytes on stdout", left, stdout.Len())
	}
}

func TestOtherToolsReadOurLayout(t *testing.T) {
	b := app(t)
	dir := filepath.Join(t.TempDir(), "layout")
	o := must[*output.Layout](t)(output.NewLayout(dir, []string{"app:1"}))
	must[*output.Result](t)(write(t, o, b))
	t.Run("skopeo", func(t *testing.T) {
		if out := skopeo(t, "inspect", "oci:"+dir+":1"); !strings.Contains(out, b.Digest().String()) {
			t.Errorf("skopeo sees %s", out)
		}
	})
	t.Run("umoci", func(t *testing.T) {
		umoci, err := exec.LookPath("umoci")
		if err != nil {
			t.Skip("umoci is not installed")
		}
		bundle := filepath.Join(t.TempDir(), "bundle")
		if out, err := exec.Command(umoci, "unpack", "--rootless", "--image", dir+":1", bundle).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := list(t, filepath.Join(bundle, "rootfs"))
		if got["bin/app"] != "program" || got["etc/conf"] != "setting" {
			t.Errorf("umoci unpacks %v", got)
		}
	})
	t.Run("our own reader", func(t *testing.T) {
		c := clientWith(t, registry.Options{Layouts: map[string]string{"s": dir}})
		img, err := c.ResolveLayout(t.Context(), "s", "1", op.Platform{OS: "linux", Architecture: "amd64"})
		if err != nil || img.Digest != b.Digest() {
			t.Fatalf("got %v, %v", img, err)
		}
		layers, err := c.Layers(t.Context(), &op.Image{Ref: img.Ref, Layout: "s", Platform: op.Platform{OS: "linux", Architecture: "amd64"}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := layers[1].Open(t.Context(), "etc/conf")
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || string(content) != "setting" {
			t.Errorf("got %q, %v", content, err)
		}
	})
}
