package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Repository keeps artifacts that are no images in a repository: manifests under tags, and what these
// refer to. It implements cache.Store.
type Repository struct {
	client *Client
	repo   name.Repository
}

// Repository opens a repository, "host/path", without asking its registry yet.
func (c *Client) Repository(ref string) (*Repository, error) {
	r, err := c.ParseDestination(ref)
	if err != nil {
		return nil, err
	}
	return &Repository{c, r.Context()}, nil
}

// String is the repository's name.
func (r *Repository) String() string { return r.repo.String() }

func (r *Repository) session(ctx context.Context) (*session, error) {
	return r.client.session(ctx, r.repo, r.client.opts.Push)
}

// tagForm is what tags are like (OCI distribution spec, "Pulling manifests"), but for the underscore that they
// may begin with.
var tagForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$`)

func checkTag(tag string) error {
	if !tagForm.MatchString(tag) {
		return failure(Invalid, "%q cannot be a tag", tag)
	}
	return nil
}

// Manifest returns what has the tag.
func (r *Repository) Manifest(ctx context.Context, tag string) ([]byte, error) {
	if err := checkTag(tag); err != nil {
		return nil, r.failed("reading", tag, err)
	}
	s, err := r.session(ctx)
	if err != nil {
		return nil, r.failed("reading", tag, err)
	}
	_, raw, err := s.manifest(ctx, tag)
	return raw, r.failed("reading", tag, err)
}

// failed gives err its place; what is not there matches fs.ErrNotExist.
func (r *Repository) failed(doing, what string, err error) error {
	if err == nil {
		return nil
	}
	err = wrap(doing, fmt.Sprintf("%s:%s", r.repo, what), err)
	var known *Error
	if errors.As(err, &known) && known.Kind == NotFound {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// rawManifest is a manifest as the library pushes it.
type rawManifest struct {
	raw       []byte
	mediaType types.MediaType
}

func (m rawManifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }

// PutManifest puts an OCI image manifest under a tag.
func (r *Repository) PutManifest(ctx context.Context, tag string, raw []byte) error {
	if err := checkTag(tag); err != nil {
		return r.failed("writing", tag, err)
	}
	m := rawManifest{raw, types.OCIManifestSchema1}
	return wrap("writing", fmt.Sprintf("%s:%s", r.repo, tag), r.client.pushing(ctx, r.repo, func(p *remote.Pusher) error {
		return p.Put(ctx, r.repo.Tag(tag), m)
	}))
}

// Has says yes: registries keep what a manifest refers to.
func (r *Repository) Has(context.Context, v1.Descriptor) (bool, error) { return true, nil }

// Open returns the content of a blob.
func (r *Repository) Open(ctx context.Context, blob v1.Descriptor) (io.ReadCloser, error) {
	s, err := r.session(ctx)
	if err != nil {
		return nil, r.failed("reading", blob.Digest.String(), err)
	}
	rc, err := s.open(ctx, blob)
	return rc, r.failed("reading", blob.Digest.String(), err)
}

// Put uploads a blob.
func (r *Repository) Put(ctx context.Context, blob v1.Descriptor, open func() (io.ReadCloser, error)) error {
	l, err := partial.CompressedToLayer(upload{blob, open})
	if err != nil {
		return err
	}
	return wrap("writing", r.repo.Digest(blob.Digest.String()).String(), r.client.pushing(ctx, r.repo, func(p *remote.Pusher) error {
		return p.Upload(ctx, r.repo, l)
	}))
}

// upload is a blob as the library uploads it.
type upload struct {
	desc v1.Descriptor
	open func() (io.ReadCloser, error)
}

func (u upload) Digest() (v1.Hash, error)            { return u.desc.Digest, nil }
func (u upload) Size() (int64, error)                { return u.desc.Size, nil }
func (u upload) MediaType() (types.MediaType, error) { return u.desc.MediaType, nil }
func (u upload) Compressed() (io.ReadCloser, error)  { return u.open() }

// Layer is a blob as the layer of an image.
func (r *Repository) Layer(blob v1.Descriptor, diffID v1.Hash) (v1.Layer, error) {
	s, err := r.session(r.client.ctx)
	if err != nil {
		return nil, r.failed("reading", blob.Digest.String(), err)
	}
	return newBlob(r.client.ctx, s, blob, diffID)
}
