package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/state"
)

// The kinds of objects that this package keeps in the state directory. They are named by
// digest, "sha256-HEX".
const (
	kindBlobs   = "blobs"   // compressed layers, by digest
	kindTars    = "tars"    // uncompressed layers, by diffID
	kindIndexes = "indexes" // indexes of the latter with extents, by diffID
)

// Write serialises l in one pass, as WriteTar does, into the state directory. Reading,
// hashing and compressing run at the same time, with memory bounded whatever the size. The result
// reads its contents where l does; its index is that of the tar, with all sums.
func Write(ctx context.Context, l Layer, dir *state.Dir, o compression.Options) (Blob, error) {
	f, err := dir.TempFile()
	if err != nil {
		return nil, err
	}
	b, err := writeTo(ctx, l, f, o)
	if err == nil {
		err = dir.Publish(kindBlobs, objectName(b.digest), f)
	}
	if err != nil {
		return nil, errors.Join(err, discard(f))
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("writing layer: %w", err)
	}
	b.dir = dir
	return b, nil
}

// discard closes and removes a temporary file.
func discard(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

func objectName(h v1.Hash) string { return h.Algorithm + "-" + h.Hex }

func writeTo(ctx context.Context, l Layer, f io.Writer, o compression.Options) (*written, error) {
	digest, diffID := newDigester(), newDigester()
	compressed := newFanout(ctx, copyTo(f), copyTo(digest))
	uncompressed := newFanout(ctx, copyTo(diffID), compressTo(compressed, o))
	s, err := writeTar(ctx, uncompressed, l)
	// When a consumer has failed, that is the cause of writeTar's error.
	if closeErr := uncompressed.CloseWithError(orEOF(err)); closeErr != nil {
		err = closeErr
	}
	if closeErr := compressed.CloseWithError(orEOF(err)); closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	return &written{
		serial:    s,
		layer:     l,
		digest:    digest.hash(),
		diffID:    diffID.hash(),
		size:      digest.n,
		algorithm: o.Algorithm,
	}, nil
}

// compressTo is the consumer that compresses to w.
func compressTo(w io.Writer, o compression.Options) func(context.Context, io.Reader) error {
	return func(_ context.Context, r io.Reader) error {
		z, err := compression.NewWriter(w, o)
		if err != nil {
			return err
		}
		if _, err := io.Copy(z, r); err != nil {
			_ = z.Close() // only to release its goroutines: err is what matters
			return err
		}
		return z.Close()
	}
}

// orEOF is how a stream ends that err, if any, has ended.
func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// digester is a SHA-256 that counts.
type digester struct {
	hash.Hash
	n int64
}

func newDigester() *digester { return &digester{Hash: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.Hash.Write(p)
}

func (d *digester) hash() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(d.Sum(nil))}
}

// written is a layer that Write has serialised.
type written struct {
	*serial
	layer     Layer
	dir       *state.Dir
	digest    v1.Hash
	diffID    v1.Hash
	size      int64 // bytes, compressed
	algorithm compression.Algorithm
}

func (w *written) Index(context.Context) (*Index, error) { return w.index, nil }

func (w *written) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	return openByPath(ctx, w, path)
}

func (w *written) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	if _, err := w.index.checkRegular(i); err != nil {
		return nil, err
	}
	return OpenAt(ctx, w.layer, w.source, w.places[i])
}

func (w *written) Blob() v1.Layer { return (*writtenBlob)(w) }

// writtenBlob is the serialised form of written.
type writtenBlob written

func (b *writtenBlob) Digest() (v1.Hash, error) { return b.digest, nil }
func (b *writtenBlob) DiffID() (v1.Hash, error) { return b.diffID, nil }
func (b *writtenBlob) Size() (int64, error)     { return b.size, nil }

func (b *writtenBlob) MediaType() (types.MediaType, error) {
	return mediaType(b.algorithm), nil
}

func (b *writtenBlob) Compressed() (io.ReadCloser, error) {
	f, err := b.dir.Lookup(kindBlobs, objectName(b.digest))
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", b.digest, err)
	}
	return f, nil
}

func (b *writtenBlob) Uncompressed() (io.ReadCloser, error) {
	f, err := b.Compressed()
	if err != nil {
		return nil, err
	}
	z, _, err := compression.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("layer %s: %w", b.digest, err), f.Close())
	}
	return &stack{z, f}, nil
}

// mediaType is that of an OCI layer (OCI image spec, layer.md).
func mediaType(a compression.Algorithm) types.MediaType {
	switch a {
	case compression.None:
		return types.OCIUncompressedLayer
	case compression.Zstd:
		return types.OCILayerZStd
	default:
		return types.OCILayer
	}
}

// stack closes a reader and what it reads from.
type stack struct {
	io.ReadCloser
	below io.Closer
}

func (s *stack) Close() error { return errors.Join(s.ReadCloser.Close(), s.below.Close()) }
