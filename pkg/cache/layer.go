package cache

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
)

// DamagedError says that a record was found whose layer cannot be had: the build is worth another
// try without that record, see [Cache.Distrust].
type DamagedError struct {
	found *found
	Err   error
}

// Error implements error.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("cached result of %s in %s: %v", e.found.record.Step, e.found.store, e.Err)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// tarredBlob is what [layer.FromIndexedBlob] gives.
type tarredBlob interface {
	layer.Blob
	layer.Tarred
}

// storedLayer is the layer of a record. Its errors are of type [DamagedError].
type storedLayer struct {
	tarredBlob
	output *Output
	making layer.Making
	failed func(error) error
}

var _ interface {
	layer.Made
	layer.Tarred
} = (*storedLayer)(nil)

// newStoredLayer makes the layer of one output of a record.
func newStoredLayer(f *found, o *Output, dir *state.Dir) (*storedLayer, error) {
	src, err := f.store.Layer(o.Layer, o.DiffID)
	if err != nil {
		return nil, err
	}
	index := func(ctx context.Context) (*layer.Index, error) { return readIndex(ctx, f.store, o.Index) }
	blob, ok := layer.FromIndexedBlob(src, index, dir).(tarredBlob)
	if !ok {
		return nil, errors.New("layers of blobs have no tar")
	}
	return &storedLayer{
		tarredBlob: blob, output: o,
		making: layer.Making{Created: f.record.Created, Form: o.Form},
		failed: f.damaged,
	}, nil
}

// indexLimit bounds the serialised index of one layer, in bytes: some hundred for each of ten
// million files.
const indexLimit = 1 << 30

func readIndex(ctx context.Context, s Store, desc v1.Descriptor) (*layer.Index, error) {
	data, err := readBlob(ctx, s, desc, indexLimit)
	if err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	x, err := layer.DecodeIndex(data)
	if err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	return x, nil
}

// Making implements layer.Made.
func (l *storedLayer) Making() layer.Making { return l.making }

// Index implements layer.Layer.
func (l *storedLayer) Index(ctx context.Context) (*layer.Index, error) {
	x, err := l.tarredBlob.Index(ctx)
	return x, l.wrap(ctx, err)
}

// Tar implements layer.Tarred.
func (l *storedLayer) Tar(ctx context.Context) (*layer.Tar, error) {
	t, err := l.tarredBlob.Tar(ctx)
	return t, l.wrap(ctx, err)
}

// Open implements layer.Layer.
func (l *storedLayer) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	if _, err := l.Tar(ctx); err != nil {
		return nil, err
	}
	return l.tarredBlob.Open(ctx, path)
}

// OpenAt implements layer.Positional.
func (l *storedLayer) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	if _, err := l.Tar(ctx); err != nil {
		return nil, err
	}
	return l.tarredBlob.OpenAt(ctx, i)
}

// Blob implements layer.Blob.
func (l *storedLayer) Blob() v1.Layer {
	blob := l.tarredBlob.Blob()
	if m, ok := blob.(*remote.MountableLayer); ok {
		return &remote.MountableLayer{Layer: storedBlob{m.Layer, l}, Reference: m.Reference}
	}
	return storedBlob{blob, l}
}

func (l *storedLayer) wrap(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return l.failed(err)
}

// storedBlob is the serialised form of a storedLayer.
type storedBlob struct {
	v1.Layer
	of *storedLayer
}

// Compressed implements v1.Layer.
func (b storedBlob) Compressed() (io.ReadCloser, error) {
	r, err := b.Layer.Compressed()
	return r, b.of.wrap(context.Background(), err)
}

// Uncompressed implements v1.Layer.
func (b storedBlob) Uncompressed() (io.ReadCloser, error) {
	r, err := b.Layer.Uncompressed()
	return r, b.of.wrap(context.Background(), err)
}

// Descriptor keeps the library from computing what is known.
func (b storedBlob) Descriptor() (*v1.Descriptor, error) {
	d := b.of.output.Layer
	return &d, nil
}
