package cachetest

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
)

// PutBlob keeps a blob of that type and content.
func PutBlob(t *testing.T, s cache.Store, mediaType types.MediaType, content string) v1.Descriptor {
	t.Helper()
	d := descriptor([]byte(content))
	d.MediaType = mediaType
	if err := s.Put(t.Context(), d, bytesOf([]byte(content))); err != nil {
		t.Fatal(err)
	}
	return d
}

// PutRecord keeps a record under a name, with one output of whose layer and index these are the bytes.
func PutRecord(t *testing.T, s cache.Store, name string, r cache.Record, layer, index string) {
	t.Helper()
	blob := PutBlob(t, s, types.OCILayer, layer)
	r.Outputs = []cache.Output{{
		Layer: blob, DiffID: blob.Digest, Index: PutBlob(t, s, "application/vnd.slipway.layer.index.v1", index),
	}}
	if err := cache.PutRecord(t.Context(), s, name, &r); err != nil {
		t.Fatal(err)
	}
}
