package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/state"
)

// Tarred is implemented by layers of which there is, or can be, an uncompressed tar on disk:
// those from [FromBlob] and [FromTar]. It is the way to read many entries in parallel.
type Tarred interface {
	Positional
	// Tar returns the tar, which has the layer's index. The first call may do
	// work, such as a download.
	Tar(ctx context.Context) (*Tar, error)
}

// FromBlob returns the layer that src is the serialised form of. Nothing is fetched before the
// index, some content or the blob's bytes are asked for. Then it is fetched once, however
// many goroutines and processes that share dir ask, and kept there compressed and
// uncompressed. Whatever src is, size, digest and diffID of what it gives are verified, and
// a mismatch, a truncated stream or a hostile tar gives an error that names the digest and leaves
// nothing behind; the next call tries again. The index has no sums of contents.
//
// The result implements [Tarred]. If src is a *remote.MountableLayer, so is its Blob.
func FromBlob(src v1.Layer, dir *state.Dir) Blob {
	return &fetched{src: src, dir: dir, turn: make(chan struct{}, 1)}
}

// FromIndexedBlob is FromBlob for a layer whose index can be had from elsewhere, such as a cache
// record: then asking for the index does not fetch the blob. Should the blob turn out to have
// another, modification times aside, reading contents gives an error.
func FromIndexedBlob(src v1.Layer, index func(context.Context) (*Index, error), dir *state.Dir) Blob {
	return &fetched{src: src, dir: dir, turn: make(chan struct{}, 1), known: index}
}

type fetched struct {
	src   v1.Layer
	dir   *state.Dir
	known func(context.Context) (*Index, error) // nil: the index is in the blob

	turn  chan struct{} // holds one token while somebody works on the fields below
	index *Index
	tar   *Tar
}

// take waits for the turn and returns what gives it back.
func (l *fetched) take(ctx context.Context) (release func(), err error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *fetched) Index(ctx context.Context) (*Index, error) {
	release, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return l.loadIndex(ctx)
}

// loadIndex returns the index; its caller has the turn.
func (l *fetched) loadIndex(ctx context.Context) (*Index, error) {
	if l.index != nil {
		return l.index, nil
	}
	if l.known != nil {
		x, err := l.known(ctx)
		l.index = x
		return x, err
	}
	id, err := identify(l.src)
	if err != nil {
		return nil, err
	}
	x, _, err := id.keptIndex(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		var t *Tar
		if t, err = l.openTar(ctx, id); err == nil {
			x = t.index
		}
	}
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", id.digest, err)
	}
	l.index = x
	return x, nil
}

// Tar implements Tarred.
func (l *fetched) Tar(ctx context.Context) (*Tar, error) {
	release, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if l.tar != nil {
		return l.tar, nil
	}
	id, err := identify(l.src)
	if err != nil {
		return nil, err
	}
	t, err := l.openTar(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", id.digest, err)
	}
	if l.known != nil {
		if _, err := l.loadIndex(ctx); err != nil {
			return nil, err
		}
		if t, err = t.withSums(ctx); err != nil {
			return nil, fmt.Errorf("layer %s: %w", id.digest, err)
		}
	}
	if l.index != nil {
		if !l.index.equal(t.index) {
			return nil, fmt.Errorf("layer %s: its content is not what its cached index says", id.digest)
		}
		t.index = l.index
	}
	l.tar, l.index = t, t.index
	return t, nil
}

func (l *fetched) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	return openByPath(ctx, l, path)
}

func (l *fetched) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	t, err := l.Tar(ctx)
	if err != nil {
		return nil, err
	}
	return t.open(i)
}

// openTar returns the tar from the state directory, after fetching it if need be.
func (l *fetched) openTar(ctx context.Context, id *identity) (*Tar, error) {
	t, err := id.keptTar(l.dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	unlock, err := l.dir.Lock(ctx, "layer-"+objectName(id.digest))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if t, err := id.keptTar(l.dir); !errors.Is(err, fs.ErrNotExist) {
		return t, err // made by another while we waited
	}
	// Few files of a base image are ever asked for their sums. Those that its index has already are verified.
	return (&fetcher{src: l.src, id: id, dir: l.dir, sums: l.known != nil}).fetchTar(ctx)
}

// Blob implements Blob. Whoever pushes it still learns where it can be mounted from.
func (l *fetched) Blob() v1.Layer {
	if m, ok := l.src.(*remote.MountableLayer); ok {
		return &remote.MountableLayer{Layer: (*fetchedBlob)(l), Reference: m.Reference}
	}
	return (*fetchedBlob)(l)
}

// fetchedBlob is the serialised form of fetched.
type fetchedBlob fetched

func (b *fetchedBlob) Digest() (v1.Hash, error)            { return b.src.Digest() }
func (b *fetchedBlob) DiffID() (v1.Hash, error)            { return b.src.DiffID() }
func (b *fetchedBlob) Size() (int64, error)                { return b.src.Size() }
func (b *fetchedBlob) MediaType() (types.MediaType, error) { return b.src.MediaType() }
func (b *fetchedBlob) Descriptor() (*v1.Descriptor, error) { return partial.Descriptor(b.src) }

func (b *fetchedBlob) Compressed() (io.ReadCloser, error) {
	id, err := identify(b.src)
	if err != nil {
		return nil, err
	}
	f, err := b.openBlob(context.Background(), id)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", id.digest, err)
	}
	return f, nil
}

func (b *fetchedBlob) openBlob(ctx context.Context, id *identity) (*os.File, error) {
	f, err := id.keptBlob(b.dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	unlock, err := b.dir.Lock(ctx, "layer-"+objectName(id.digest))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if f, err := id.keptBlob(b.dir); !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	return (&fetcher{src: b.src, id: id, dir: b.dir}).fetchBlob(ctx)
}

func (b *fetchedBlob) Uncompressed() (io.ReadCloser, error) {
	t, err := (*fetched)(b).Tar(context.Background())
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(t.r, 0, t.Size())), nil
}
