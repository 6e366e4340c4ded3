package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/op"
)

// memory is a source of one manifest, whose blobs are all the same bytes.
type memory struct {
	source
	raw, blob []byte
}

func (m *memory) manifest(_ context.Context, id string) (v1.Descriptor, []byte, error) {
	desc, err := checkManifest("", "", m.raw)
	return desc, m.raw, err
}

func (m *memory) open(context.Context, v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.blob)), nil
}

func (m *memory) layerScope() string { return "" }

// FuzzManifest feeds hostile manifests, indexes and configs to the resolver: whatever they are, it
// ends, with an image whose layers its config lists, or an error.
func FuzzManifest(f *testing.F) {
	config := `{"rootfs":{"diff_ids":[]}}`
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(config)))
	f.Add([]byte(fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":%d}}`, digest, len(config))), []byte(config))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+digest+`"}]}`), []byte(config))
	f.Add([]byte(`{"schemaVersion":1}`), []byte(``))
	f.Add([]byte(`{"schemaVersion":2,"layers":[{"digest":"sha512:00","size":9223372036854775807}]}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, raw, blob []byte) {
		src := &memory{raw: raw, blob: blob}
		desc, raw, err := src.manifest(t.Context(), "")
		if err != nil {
			return
		}
		img, err := pick(t.Context(), src, desc, raw, op.Platform{OS: "linux", Architecture: "amd64"}, 0)
		if err != nil {
			if wrap("x", "y", err).Error() == "" {
				t.Error("empty message")
			}
			return
		}
		if !json.Valid(img.Config) {
			t.Errorf("config %q", img.Config)
		}
	})
}

// tarOf packs files; "a -> b" is a symbolic link.
func tarOf(tb testing.TB, files map[string]string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}
		if from, to, ok := strings.Cut(name, " -> "); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, from, to
		}
		err := w.WriteHeader(h)
		_, werr := io.WriteString(w, content)
		if err := errors.Join(err, werr); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// FuzzArchive feeds hostile archives to the reader of local images.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("junk"))
	f.Add(make([]byte, 1024))
	f.Add(tarOf(f, map[string]string{
		"manifest.json": `[{"Config":"c","RepoTags":["a:1"],"Layers":["l","m"]}]`, "c": "{}", "l": "layer", "m -> l": "",
	}))
	f.Add(tarOf(f, map[string]string{"manifest.json": `[{"Config":"a"}]`, "a -> b": "", "b -> a": "", "../c": "x"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := scanArchive(bytes.NewReader(raw))
		if err != nil {
			return
		}
		for name, m := range a.members {
			if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") {
				t.Errorf("member %q leaves the archive", name)
			}
			if m.offset < 0 || m.size < 0 {
				t.Errorf("member %q lies at %d+%d", name, m.offset, m.size)
			}
			if _, err := readFile(a, name, 1<<20); err != nil && err.Error() == "" {
				t.Error("empty message")
			}
		}
		if _, err := newDockerArchive(t.Context(), a, "x"); err != nil && err.Error() == "" {
			t.Error("empty message")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"99999999999999":                0,
		"soon":                          0,
		"Wed, 01 Jan 2020 00:00:30 GMT": 30 * time.Second,
		"Tue, 31 Dec 2019 00:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}
