package testbase

import (
	"archive/tar"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// Both programs give images that a registry takes, that hold a shell, and that are the same
// each time.
func TestImage(t *testing.T) {
	for _, find := range []struct {
		name string
		find func() (*Program, error)
	}{
		{"busybox", func() (*Program, error) { return busybox(t.Context()) }},
		{"toolbox", func() (*Program, error) { return toolbox(t.Context()) }},
	} {
		t.Run(find.name, func(t *testing.T) {
			p, err := find.find()
			if errors.Is(err, exec.ErrNotFound) {
				t.Skip("this machine has no static busybox")
			}
			if err != nil {
				t.Fatal(err)
			}
			image, err := p.Image()
			if err != nil {
				t.Fatal(err)
			}
			names := fileNames(t, image)
			for _, want := range []string{"bin/sh", "bin/cat", "bin/" + p.Name, "etc/passwd", "tmp/"} {
				if !slices.Contains(names, want) {
					t.Errorf("the image has no %s", want)
				}
			}
			again, err := p.Image()
			if err != nil {
				t.Fatal(err)
			}
			if a, b := digestOf(t, image), digestOf(t, again); a != b {
				t.Errorf("two calls give two images: %s, %s", a, b)
			}
			registry, err := Serve()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := registry.Close(); err != nil {
					t.Error(err)
				}
			}()
			ref, err := registry.Push(t.Context(), "base/busybox:test", image)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := name.ParseReference(ref)
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := remote.Image(parsed)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(pulled); err != nil {
				t.Error(err)
			}
			if a, b := digestOf(t, image), digestOf(t, pulled); a != b {
				t.Errorf("pushed %s, pulled %s", a, b)
			}
		})
	}
}

func TestStatic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := isStatic(path); err == nil {
		t.Error("a script passes for an executable")
	}
	if static, err := isStatic("/proc/self/exe"); err != nil || !static {
		// The test binary is static unless it is built with cgo for the race detector.
		if os.Getenv("CGO_ENABLED") == "0" {
			t.Errorf("the test's own executable: static %v, error %v", static, err)
		}
	}
}

func digestOf(t *testing.T, image v1.Image) v1.Hash {
	t.Helper()
	h, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func fileNames(t *testing.T, image v1.Image) []string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := EachEntry(layers[0], func(h *tar.Header, _ []byte) { names = append(names, h.Name) }); err != nil {
		t.Fatal(err)
	}
	return names
}
