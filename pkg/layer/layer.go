// Package layer defines the unit that Slipway computes with: an immutable, indexed
// filesystem change set.
//
// A layer is an index (what the tar headers of an OCI layer say) plus a way to read the
// content of each regular file. Where the bytes lie (a registry blob, a decompressed tar, an
// overlay upper directory, the build context) is the layer's own business, and nothing
// here needs privilege, a mount or an unpacked tree.
package layer

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Layer is one immutable change set. Implementations are safe for concurrent use, are
// compared by identity (so they are pointers), and pass layertest.Run.
type Layer interface {
	// Index says what the layer changes. The first call may do work, such as a
	// download; later calls return the same index. A failed call may be tried
	// again.
	Index(ctx context.Context) (*Index, error)

	// Open returns the content of the Regular entry at path, exactly Entry.Size
	// bytes: a source that turns out shorter, longer or changed since it was
	// indexed gives an error from Read. A path that is absent or of another type gives
	// an error that matches fs.ErrNotExist or fs.ErrInvalid.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
}

// Blob is a layer that exists in serialised form, with a digest by which a registry knows it.
// Layers of base images are blobs from the start; others become one when they are written
// with [Write].
type Blob interface {
	Layer
	// Blob is the serialised form, as the image libraries take it. It may be
	// lazy: its bytes are fetched only if they are read.
	Blob() v1.Layer
}
