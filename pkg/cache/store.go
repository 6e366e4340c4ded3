// Package cache keeps results of operations between builds, in a registry, a directory or a bucket,
// by the rules of docs/cache.md.
package cache

import (
	"context"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Store is a place for small manifests under names, and for blobs under their digests, such as a
// registry's repository. Its methods are safe for concurrent use, also by several processes; whoever
// reads sees a manifest or blob whole or not at all. What a store gives may be damaged or somebody
// else's: callers verify digests. A store passes cachetest.Run.
//
//	put a blob ──> put the manifest that refers to it ──> get the manifest ──> get the blob
//
// Names are of at most 128 letters, digits, '_', '.' and '-', and begin with a letter or digit
// (as tags, OCI distribution spec).
type Store interface {
	// Manifest returns the manifest of that name. The error matches fs.ErrNotExist if there
	// is none; any other means that the store cannot be asked.
	Manifest(ctx context.Context, name string) ([]byte, error)

	// PutManifest keeps a manifest, in place of another of that name. Blobs that it
	// refers to are there already.
	PutManifest(ctx context.Context, name string, manifest []byte) error

	// Has reports whether the store has the blob. A store that keeps all blobs as long as a
	// manifest refers to them may say yes unasked of those that a manifest of its own
	// refers to.
	Has(ctx context.Context, blob v1.Descriptor) (bool, error)

	// Open returns the content of a blob; the error matches fs.ErrNotExist if there is
	// none.
	Open(ctx context.Context, blob v1.Descriptor) (io.ReadCloser, error)

	// Put keeps the blob whose content open gives, unless it is there already; then
	// open need not be called.
	Put(ctx context.Context, blob v1.Descriptor, open func() (io.ReadCloser, error)) error

	// Layer is a blob that is an image's layer, for whoever pushes it: a registry may be
	// told where to mount it from. Nothing is fetched before it is read.
	Layer(blob v1.Descriptor, diffID v1.Hash) (v1.Layer, error)

	// String is where the store is, as its user wrote it but without credentials.
	String() string
}

// Repairable is a store in which a damaged blob can be replaced. Registries cannot: most take the upload of a
// blob that they have for done, whatever became of its content.
type Repairable interface {
	Store
	// Distrust says that what Open or Layer gave of a blob is not that blob. The next Put writes it, although
	// it is there.
	Distrust(blob v1.Descriptor)
}

// Distrust tells a store that the blobs of a record cannot be trusted, if it can replace them.
func Distrust(s Store, r *Record) {
	repairable, ok := s.(Repairable)
	if !ok {
		return
	}
	for _, o := range r.Outputs {
		repairable.Distrust(o.Layer)
		repairable.Distrust(o.Index)
	}
}

// Prunable is a store whose content can be listed and removed.
type Prunable interface {
	Store
	// List yields the names of all manifests.
	List(ctx context.Context) ([]Listed, error)
	// Remove deletes manifests, and the blobs that no other manifest refers to and
	// that are no younger than grace: others may be being referred to right now. It
	// returns how many bytes of blobs that freed; 0 where the store frees them later itself.
	Remove(ctx context.Context, names []string, grace time.Duration) (freed int64, err error)
}

// Listed is one manifest in a store.
type Listed struct {
	Name     string
	Modified time.Time // zero if the store does not know
}
