package cachetest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
)

// largeSize needs several parts in stores that upload in parts.
const largeSize = 40 << 20

// noise is reproducible content that is never in memory as a whole.
func noise() io.ReadCloser {
	return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{1}), largeSize))
}

func testLargeBlob(t *testing.T, s cache.Store) {
	d, err := describe(noise())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), d, func() (io.ReadCloser, error) { return noise(), nil }); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := describe(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got.Digest != d.Digest {
		t.Errorf("the blob came back as %s with %d bytes instead of %s with %d", got.Digest, got.Size, d.Digest, d.Size)
	}
}

// describe describes what r gives as a layer.
func describe(r io.Reader) (v1.Descriptor, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
	return v1.Descriptor{MediaType: types.OCILayer, Digest: digest, Size: n}, err
}

func testLayer(t *testing.T, s cache.Store) {
	content := bytes.Repeat([]byte("what the layer holds. "), 1000)
	diffID := descriptor(content).Digest
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d := descriptor(compressed.Bytes())
	// The layer is made before its blob is there: nothing is asked for until it is read.
	l, err := s.Layer(d, diffID)
	if err != nil {
		t.Fatal(err)
	}
	wantDescribed(t, l, d, diffID)
	if r, err := l.Compressed(); err == nil {
		if _, err := io.Copy(io.Discard, r); err == nil {
			t.Error("a layer can be read whose blob is not there")
		}
		_ = r.Close() // it failed already
	}
	if err := s.Put(t.Context(), d, bytesOf(compressed.Bytes())); err != nil {
		t.Fatal(err)
	}
	wantContent(t, l.Compressed, compressed.Bytes())
	wantContent(t, l.Uncompressed, content)
}

func wantDescribed(t *testing.T, l v1.Layer, d v1.Descriptor, diffID v1.Hash) {
	t.Helper()
	if got, err := l.Digest(); got != d.Digest || err != nil {
		t.Errorf("digest: %s, %v", got, err)
	}
	if got, err := l.DiffID(); got != diffID || err != nil {
		t.Errorf("diff ID: %s, %v", got, err)
	}
	if got, err := l.Size(); got != d.Size || err != nil {
		t.Errorf("size: %d, %v", got, err)
	}
	if got, err := l.MediaType(); got != d.MediaType || err != nil {
		t.Errorf("media type: %s, %v", got, err)
	}
}
