package cache

import (
	"bytes"
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
)

// describe sets what the blob and its index say of themselves, and returns the index as it is kept.
func (o *Output) describe(blob v1.Layer, x *layer.Index) (index []byte, err error) {
	var errs [5]error
	o.Layer.Digest, errs[0] = blob.Digest()
	o.Layer.Size, errs[1] = blob.Size()
	o.Layer.MediaType, errs[2] = blob.MediaType()
	o.DiffID, errs[3] = blob.DiffID()
	index, errs[4] = x.MarshalBinary()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	o.Index.MediaType = indexType
	o.Index.Digest, o.Index.Size, err = v1.SHA256(bytes.NewReader(index))
	return index, err
}

// exactIndex is the index of a layer that was written as blob, with times as exact as they were before.
func exactIndex(ctx context.Context, l layer.Layer, blob layer.Blob) (*layer.Index, error) {
	written, err := blob.Index(ctx)
	if err != nil {
		return nil, err
	}
	original, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	return written.WithTimesOf(original), nil
}

// put keeps the blobs of an output.
func (o *Output) put(ctx context.Context, s Store, blob v1.Layer, index func() (io.ReadCloser, error)) error {
	if err := s.Put(ctx, o.Layer, blob.Compressed); err != nil {
		return err
	}
	return s.Put(ctx, o.Index, index)
}

// putConfig keeps the config that all manifests have.
func putConfig(ctx context.Context, s Store) error {
	return s.Put(ctx, emptyBlob(), bytesOf(emptyContent))
}

// PutLayer keeps a layer, which was written in a form as blob, for records to refer to.
func PutLayer(ctx context.Context, s Store, l layer.Layer, blob layer.Blob, form layer.Form) (*Output, error) {
	x, err := exactIndex(ctx, l, blob)
	if err != nil {
		return nil, err
	}
	o := &Output{Form: form}
	if o.Content, err = x.ContentDigest(); err != nil {
		return nil, err
	}
	index, err := o.describe(blob.Blob(), x)
	if err != nil {
		return nil, err
	}
	return o, o.put(ctx, s, blob.Blob(), bytesOf(index))
}

// PutRecord keeps a record, whose layers are kept already, under a name.
func PutRecord(ctx context.Context, s Store, name string, r *Record) error {
	raw, err := r.Marshal()
	if err != nil {
		return err
	}
	if err := putConfig(ctx, s); err != nil {
		return err
	}
	return s.PutManifest(ctx, name, raw)
}

// Layers are the layers of a record's outputs, in their order. What of them is fetched is kept in dir.
func Layers(s Store, r *Record, dir *state.Dir) ([]layer.Layer, error) {
	f := &found{store: s, record: r}
	layers := make([]layer.Layer, len(r.Outputs))
	for i := range r.Outputs {
		l, err := newStoredLayer(f, &r.Outputs[i], dir)
		if err != nil {
			return nil, err
		}
		layers[i] = l
	}
	return layers, nil
}
