package cachetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
)

// source is where Put reads a blob from.
type source = func() (io.ReadCloser, error)

func opener(r io.Reader) source { return func() (io.ReadCloser, error) { return io.NopCloser(r), nil } }

func bytesOf(data []byte) source {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func failing(err error) source { return func() (io.ReadCloser, error) { return nil, err } }

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func failingAfter(data []byte, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(data), failingReader{err})
}

// descriptor describes data as a layer.
func descriptor(data []byte) v1.Descriptor {
	d, err := describe(bytes.NewReader(data))
	if err != nil { // reading memory does not fail
		panic(err)
	}
	d.MediaType = types.OCILayer
	return d
}

// put puts a layer of that content.
func put(t *testing.T, s cache.Store, content string) v1.Descriptor {
	t.Helper()
	return PutBlob(t, s, types.OCILayer, content)
}

// manifestOf is a manifest that refers to blobs, whose config is one of them. Its other parts are those of
// a record.
func manifestOf(t *testing.T, blobs ...v1.Descriptor) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     types.OCIManifestSchema1,
		"artifactType":  "application/vnd.slipway.test.v1",
		"config":        blobs[0],
		"layers":        blobs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func wantManifest(t *testing.T, s cache.Store, name string, want []byte) {
	t.Helper()
	got, err := s.Manifest(t.Context(), name)
	if err != nil {
		t.Errorf("manifest %s: %v", name, err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("manifest %s is\n%s\nand should be\n%s", name, got, want)
	}
}

func wantBlob(t *testing.T, s cache.Store, d v1.Descriptor, want []byte) {
	t.Helper()
	wantContent(t, func() (io.ReadCloser, error) { return s.Open(t.Context(), d) }, want)
}

func wantContent(t *testing.T, open source, want []byte) {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Error(err)
		return
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the content has %d bytes and is not what was written, %d bytes", len(got), len(want))
	}
}

func wantNoBlob(t *testing.T, s cache.Store, d v1.Descriptor) {
	t.Helper()
	r, err := s.Open(t.Context(), d)
	if err == nil {
		_ = r.Close() // its being there is what is wrong
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a blob that should not be there: %v", err)
	}
}
