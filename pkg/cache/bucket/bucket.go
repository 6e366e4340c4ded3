// Package bucket is the cache's store in an object store's bucket, or in a directory:
//
//	PREFIX/manifests/NAME.json    manifests; the suffix tells them from what a dead writer left
//	PREFIX/blobs/sha256/HEX       blobs
//
// Objects come into being whole. It implements cache.Prunable and cache.Repairable.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	cloud "github.com/slipway-build/slipway/pkg/bucket"
)

const (
	manifestDir    = "manifests/"
	manifestSuffix = ".json"
	blobDir        = "blobs/sha256/"

	// manifestLimit bounds what is read of a manifest, in bytes. Readers accept less.
	manifestLimit = 4 << 20
)

// Store keeps manifests and blobs in a bucket. It is safe for concurrent use.
type Store struct {
	ctx    context.Context
	bucket *blob.Bucket
	prefix string // "" or "cache/of/project/"
	where  string
	// uploads says that the driver reads by itself what it is to keep, and keeps nothing if that or anything else fails.
	uploads bool

	distrusted sync.Map // keys of blobs that are to be written although they are there
}

// New makes a store of a bucket; its objects lie under prefix, a path. where is what String gives.
// Layers can be read as long as ctx lasts.
func New(ctx context.Context, b *blob.Bucket, prefix, where string) *Store {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return &Store{ctx: ctx, bucket: b, prefix: prefix, where: where}
}

// String is where the store is.
func (s *Store) String() string { return s.where }

// nameForm is what names of manifests are like (OCI distribution spec, "Pulling manifests").
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$`)

func (s *Store) manifestKey(name string) (string, error) {
	if !nameForm.MatchString(name) {
		return "", fmt.Errorf("%q cannot be the name of a manifest", name)
	}
	return s.prefix + manifestDir + name + manifestSuffix, nil
}

func (s *Store) blobKey(d v1.Descriptor) (string, error) {
	if h, err := v1.NewHash(d.Digest.String()); err != nil || h.Algorithm != "sha256" {
		return "", fmt.Errorf("%q is not the SHA-256 of a blob", d.Digest)
	}
	return s.prefix + blobDir + d.Digest.Hex, nil
}

// failed gives err its place, without credentials. What is not there matches fs.ErrNotExist.
func (s *Store) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = notFoundError{err}
	}
	return fmt.Errorf("%s in %s: %w", doing, s.where, cloud.Redacted(err))
}

// notFoundError is a bucket's way to say that there is no such object.
type notFoundError struct{ error }

func (e notFoundError) Is(target error) bool { return target == fs.ErrNotExist }
func (e notFoundError) Unwrap() error        { return e.error }

// Manifest returns the manifest of that name.
func (s *Store) Manifest(ctx context.Context, name string) ([]byte, error) {
	raw, err := s.manifest(ctx, name)
	return raw, s.failed("reading manifest "+name, err)
}

func (s *Store) manifest(ctx context.Context, name string) (_ []byte, err error) {
	key, err := s.manifestKey(name)
	if err != nil {
		return nil, err
	}
	r, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(r, manifestLimit+1))
	if err == nil && len(raw) > manifestLimit {
		err = fmt.Errorf("it has more than %d bytes", manifestLimit)
	}
	return raw, err
}

// open opens an object; not every bucket looks at ctx before it gives what it has.
func (s *Store) open(ctx context.Context, key string) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return s.bucket.NewReader(ctx, key, nil)
}

// PutManifest keeps a manifest.
func (s *Store) PutManifest(ctx context.Context, name string, raw []byte) error {
	key, err := s.manifestKey(name)
	if err == nil {
		err = s.write(ctx, key, string(types.OCIManifestSchema1), strings.NewReader(string(raw)))
	}
	return s.failed("writing manifest "+name, err)
}

// Has asks the bucket for the blob.
func (s *Store) Has(ctx context.Context, d v1.Descriptor) (bool, error) {
	has, err := s.has(ctx, d)
	return has, s.failed("looking for blob "+d.Digest.String(), err)
}

func (s *Store) has(ctx context.Context, d v1.Descriptor) (bool, error) {
	key, err := s.blobKey(d)
	if err != nil {
		return false, err
	}
	attrs, err := s.bucket.Attributes(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return false, nil
	}
	// One of another size was cut off by a machine that lost its power.
	return err == nil && attrs.Size == d.Size, err
}

// Open returns the content of a blob.
func (s *Store) Open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	doing := "reading blob " + d.Digest.String()
	key, err := s.blobKey(d)
	if err != nil {
		return nil, s.failed(doing, err)
	}
	r, err := s.open(ctx, key)
	if err != nil {
		return nil, s.failed(doing, err)
	}
	return &reader{r, func(err error) error {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return s.failed(doing, err)
	}}, nil
}

// reader gives the errors of a blob's content their place.
type reader struct {
	io.ReadCloser
	failed func(error) error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.failed(err)
	}
	return n, err
}

// Layer is a blob as the layer of an image.
func (s *Store) Layer(d v1.Descriptor, diffID v1.Hash) (v1.Layer, error) {
	return partial.CompressedToLayer(&stored{s, d, diffID})
}

// stored is a blob as the library takes layers.
type stored struct {
	store  *Store
	desc   v1.Descriptor
	diffID v1.Hash
}

func (l *stored) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *stored) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *stored) Size() (int64, error)                { return l.desc.Size, nil }
func (l *stored) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *stored) Descriptor() (*v1.Descriptor, error) { return &l.desc, nil }
func (l *stored) Compressed() (io.ReadCloser, error)  { return l.store.Open(l.store.ctx, l.desc) }
