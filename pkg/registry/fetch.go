package registry

import (
	"bytes"
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/op"
)

// Store keeps content by its digest.
type Store interface {
	// Put keeps a blob, if the store has it not. open gives its bytes, which end with an
	// error if they are not what the descriptor says.
	Put(ctx context.Context, blob v1.Descriptor, open func() (io.ReadCloser, error)) error
	// Open gives a blob that was put.
	Open(ctx context.Context, blob v1.Descriptor) (io.ReadCloser, error)
}

// downloads is how many layers of an image are fetched at once.
const downloads = 4

// Fetch looks an image up in its registry, whatever was looked up before, and puts all that a build for the platform
// reads of it into a store: manifests, config and layers. It returns what the reference names: the image, or its index.
func (c *Client) Fetch(ctx context.Context, ref string, p op.Platform, to Store) (v1.Descriptor, error) {
	r, err := c.ParseReference(ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	src, err := c.mirrored(ctx, r.Context())
	if err != nil {
		return v1.Descriptor{}, wrap("fetching image", ref, err)
	}
	desc, err := fetch(ctx, &storing{src, to}, r.Identifier(), p)
	return desc, wrap("fetching image", ref, err)
}

func fetch(ctx context.Context, src *storing, id string, p op.Platform) (v1.Descriptor, error) {
	desc, raw, err := src.manifest(ctx, id)
	if err != nil {
		return v1.Descriptor{}, err
	}
	img, err := pick(ctx, src, desc, raw, p, 0)
	if err != nil {
		return v1.Descriptor{}, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(downloads)
	for _, l := range img.Layers {
		d, err := partial.Descriptor(l)
		if err != nil {
			return v1.Descriptor{}, errors.Join(err, g.Wait())
		}
		g.Go(func() error { return src.put(ctx, *d) })
	}
	return desc, g.Wait()
}

// storing is a repository of which everything that is read is put into a store.
type storing struct {
	source
	store Store
}

// manifest implements source.
func (s *storing) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	desc, raw, err := s.source.manifest(ctx, id)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	err = s.store.Put(ctx, desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	return desc, raw, err
}

// open implements source.
func (s *storing) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	if err := s.put(ctx, desc); err != nil {
		return nil, err
	}
	return s.store.Open(ctx, desc)
}

func (s *storing) put(ctx context.Context, desc v1.Descriptor) error {
	return fetchedAgain(func() error { return s.store.Put(ctx, desc, (&blob{ctx, s.source, desc}).open) })
}
