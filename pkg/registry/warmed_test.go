package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// plainStore is a store that is a layout, for one writer.
type plainStore string

func newStore(t *testing.T) plainStore {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	return plainStore(dir)
}

func (s plainStore) path(d v1.Descriptor) string {
	return filepath.Join(string(s), "blobs", d.Digest.Algorithm, d.Digest.Hex)
}

func (s plainStore) Put(_ context.Context, d v1.Descriptor, open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(s.path(d), b, 0o600)
}

func (s plainStore) Open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return os.Open(s.path(d))
}

// damageAll changes a byte of all blobs for which of says yes.
func (s plainStore) damageAll(t *testing.T, of func(content []byte) bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(string(s), "blobs/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !of(b) {
			continue
		}
		n++
		b[len(b)/2] ^= 1
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Fatal("there is nothing to damage")
	}
}

func isJSON(b []byte) bool { return bytes.HasPrefix(b, []byte("{")) }

// twoPlatforms is an index of images whose topmost layers say for which platform they are.
func twoPlatforms(t *testing.T) v1.ImageIndex {
	t.Helper()
	x := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		x = mutate.AppendManifests(x, mutate.IndexAddendum{
			Add:        imageWith(t, op.Platform{OS: "linux", Architecture: arch}, "shared", "for "+arch),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return x
}

// fetched puts an image into the server, and fetches it for amd64.
func fetched(t *testing.T, s *server) (ref, pinned string, to plainStore) {
	t.Helper()
	ref = s.put(t, "team/base:1", twoPlatforms(t))
	to = newStore(t)
	desc, err := newClient(t, registry.Options{}).Fetch(t.Context(), ref, amd64, to)
	if err != nil {
		t.Fatal(err)
	}
	s.forget()
	return ref, ref + "@" + desc.Digest.String(), to
}

func TestFetchedImageNeedsNoRegistry(t *testing.T) {
	s := serve(t)
	_, pinned, dir := fetched(t, s)
	c := newClient(t, registry.Options{WarmDir: string(dir)})
	got, err := read(t.Context(), t, c, &op.Image{Ref: pinned, Platform: amd64})
	if err != nil || got != "for amd64" {
		t.Errorf("read %q, %v", got, err)
	}
	if len(s.requests) != 0 {
		t.Errorf("the registry was asked: %q", s.requests)
	}
}

func TestTagIsAskedForAndNothingElse(t *testing.T) {
	s := serve(t)
	ref, _, dir := fetched(t, s)
	c := newClient(t, registry.Options{WarmDir: string(dir)})
	if got, err := read(t.Context(), t, c, &op.Image{Ref: ref, Platform: amd64}); err != nil || got != "for amd64" {
		t.Errorf("read %q, %v", got, err)
	}
	if all, tags := s.count("GET", "/v2/team"), s.count("GET", "/manifests/1"); all != 1 || tags != 1 {
		t.Errorf("the registry was asked: %q", s.requests)
	}
}

func TestMovedTagIsSeen(t *testing.T) {
	s := serve(t)
	ref, _, dir := fetched(t, s)
	s.put(t, "team/base:1", imageWith(t, amd64, "moved"))
	c := newClient(t, registry.Options{WarmDir: string(dir)})
	if got, err := read(t.Context(), t, c, &op.Image{Ref: ref, Platform: amd64}); err != nil || got != "moved" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestWhatWasNotFetchedComesFromTheRegistry(t *testing.T) {
	s := serve(t)
	_, pinned, dir := fetched(t, s)
	c := newClient(t, registry.Options{WarmDir: string(dir)})
	arm64 := op.Platform{OS: "linux", Architecture: "arm64"}
	if got, err := read(t.Context(), t, c, &op.Image{Ref: pinned, Platform: arm64}); err != nil || got != "for arm64" {
		t.Errorf("read %q, %v", got, err)
	}
	// Its manifest, config and layer.
	if m, b := s.count("GET", "/manifests/"), s.count("GET", "/blobs/"); m != 1 || b != 2 {
		t.Errorf("the registry was asked: %q", s.requests)
	}
}

// What was fetched comes from the directory, but registries can mount it from where it was fetched.
func TestFetchedLayersStayMountable(t *testing.T) {
	s := serve(t)
	_, pinned, dir := fetched(t, s)
	c := newClient(t, registry.Options{WarmDir: string(dir)})
	img, err := c.Resolve(t.Context(), pinned, amd64)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range img.Layers {
		m, ok := l.(*remote.MountableLayer)
		if !ok || m.Reference.Context().String() != s.host+"/team/base" {
			t.Errorf("layer %T is not to be mounted from where it was fetched", l)
		}
	}
}

func TestDamagedBlobsArePassedOver(t *testing.T) {
	for what, of := range map[string]func([]byte) bool{
		"manifests and configs": isJSON,
		"layers":                func(b []byte) bool { return !isJSON(b) },
	} {
		t.Run(what, func(t *testing.T) {
			s := serve(t)
			_, pinned, dir := fetched(t, s)
			dir.damageAll(t, of)
			var mu sync.Mutex
			warnings := map[string]int{}
			c := newClient(t, registry.Options{WarmDir: string(dir), Warn: func(m string) {
				mu.Lock()
				defer mu.Unlock()
				warnings[m]++
			}})
			for range 2 {
				if got, err := read(t.Context(), t, c, &op.Image{Ref: pinned, Platform: amd64}); err != nil || got != "for amd64" {
					t.Fatalf("read %q, %v", got, err)
				}
			}
			if len(warnings) == 0 {
				t.Error("there is no warning")
			}
			for m, n := range warnings {
				if n > 1 || !strings.Contains(m, "passed over") {
					t.Errorf("%d times: %s", n, m)
				}
			}
		})
	}
}

// A directory that nobody has filled yet does not fail a build.
func TestDirectoryWithoutImages(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "one"))
	for what, dir := range map[string]string{"an empty one": t.TempDir(), "none": filepath.Join(t.TempDir(), "none")} {
		t.Run(what, func(t *testing.T) {
			var warnings []string
			c := newClient(t, registry.Options{WarmDir: dir, Warn: func(m string) { warnings = append(warnings, m) }})
			if got, err := read(t.Context(), t, c, &op.Image{Ref: ref, Platform: amd64}); err != nil || got != "one" {
				t.Errorf("read %q, %v", got, err)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], "no base image is taken from "+dir) {
				t.Errorf("warnings are %q", warnings)
			}
		})
	}
}

func TestFetchErrors(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", twoPlatforms(t))
	for _, test := range []struct {
		ref, arch string
		want      registry.Kind
	}{
		{ref, "riscv64", registry.NoPlatform},
		{s.host + "/app:none", "amd64", registry.NotFound},
		{"NOT A REFERENCE", "amd64", registry.Invalid},
	} {
		t.Run(fmt.Sprint(test.ref, " ", test.arch), func(t *testing.T) {
			_, err := newClient(t, registry.Options{}).Fetch(t.Context(), test.ref, op.Platform{OS: "linux", Architecture: test.arch}, newStore(t))
			if got := kindOf(t, err); got != test.want {
				t.Errorf("got kind %d: %v", got, err)
			}
		})
	}
}
