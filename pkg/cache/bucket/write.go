package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"gocloud.dev/blob"

	"github.com/slipway-build/slipway/pkg/cache"
)

// An upload holds at most as many parts of that size, in bytes, in memory.
const (
	partSize      = 8 << 20
	parallelParts = 2
)

// Put keeps a blob. It is not there before it is whole and has the digest that it should have.
func (s *Store) Put(ctx context.Context, d v1.Descriptor, open func() (io.ReadCloser, error)) error {
	return s.failed("writing blob "+d.Digest.String(), s.put(ctx, d, open))
}

func (s *Store) put(ctx context.Context, d v1.Descriptor, open func() (io.ReadCloser, error)) (err error) {
	key, err := s.blobKey(d)
	if err != nil {
		return err
	}
	if _, damaged := s.distrusted.Load(key); !damaged {
		if has, err := s.has(ctx, d); has || err != nil {
			return err
		}
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := s.write(ctx, key, "application/octet-stream", &verifier{r: r, left: d.Size, hash: sha256.New(), want: d.Digest}); err != nil {
		return err
	}
	s.distrusted.Delete(key)
	return nil
}

var _ cache.Repairable = (*Store)(nil)

// Distrust has the next Put of a blob replace what is there.
func (s *Store) Distrust(d v1.Descriptor) {
	if key, err := s.blobKey(d); err == nil { // nothing else can be put
		s.distrusted.Store(key, true)
	}
}

// write writes an object, which comes into being if r ends with io.EOF and the bucket has taken all of it.
func (s *Store) write(ctx context.Context, key, contentType string, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := &blob.WriterOptions{ContentType: contentType, BufferSize: partSize, MaxConcurrency: parallelParts}
	if !s.uploads {
		return s.copy(ctx, cancel, key, r, o)
	}
	watched := &watcher{r: r, failed: cancel}
	err := s.bucket.Upload(ctx, key, watched, o)
	switch {
	case watched.err == nil:
		return err
	case err == nil:
		return keptError(watched.err, key)
	}
	return watched.err
}

// copy writes an object where the driver would take what was written before an error, its own ones included, for all
// there is, unless the context has ended.
func (s *Store) copy(ctx context.Context, cancel func(), key string, r io.Reader, o *blob.WriterOptions) error {
	w, err := s.bucket.NewWriter(ctx, key, o)
	if err != nil {
		return err
	}
	if _, err = io.Copy(w, r); err == nil {
		return w.Close()
	}
	cancel()
	if w.Close() == nil {
		return keptError(err, key)
	}
	return err
}

func keptError(err error, key string) error {
	return fmt.Errorf("%w, and what was written of it before is kept as %s", err, key)
}

// watcher tells whoever uploads what it reads when that fails.
type watcher struct {
	r      io.Reader
	failed func()
	err    error
}

func (w *watcher) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
		w.failed()
	}
	return n, err
}

// verifier passes on a blob, and ends with an error unless it has the digest and size that it should.
type verifier struct {
	r    io.Reader
	left int64
	hash hash.Hash
	want v1.Hash
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 {
		return 0, errors.New("it has more bytes than it should")
	}
	if errors.Is(err, io.EOF) {
		return n, v.end()
	}
	return n, err
}

func (v *verifier) end() error {
	if v.left > 0 {
		return fmt.Errorf("it ends %d bytes early", v.left)
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Hex {
		return fmt.Errorf("digest mismatch: what is to be kept has sha256:%s instead of %s", got, v.want)
	}
	return io.EOF
}
