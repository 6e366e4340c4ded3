package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/state"
)

// fetcher brings a blob into the state directory. Its caller holds the blob's lock.
type fetcher struct {
	src  v1.Layer
	id   *identity
	dir  *state.Dir
	sums bool // the index shall have the sums of the contents
}

// fetchBlob fetches only the compressed blob.
func (f *fetcher) fetchBlob(ctx context.Context) (_ *os.File, err error) {
	tmp, err := f.dir.TempFile()
	if err != nil {
		return nil, err
	}
	err = fetchedAgain(ctx, func() error {
		return errors.Join(truncate(tmp), f.stream(ctx, f.src.Compressed, copyTo(tmp)))
	})
	if err != nil {
		return nil, errors.Join(err, discard(tmp))
	}
	if err := f.dir.Publish(kindBlobs, objectName(f.id.digest), tmp); err != nil {
		return nil, errors.Join(err, discard(tmp))
	}
	return rewind(tmp)
}

// fetchTar fetches the blob unless it is there, and in the same pass decompresses, indexes and
// keeps it.
func (f *fetcher) fetchTar(ctx context.Context) (t *Tar, err error) {
	err = fetchedAgain(ctx, func() error {
		var err error
		t, err = f.tryTar(ctx)
		return err
	})
	return t, err
}

func (f *fetcher) tryTar(ctx context.Context) (_ *Tar, err error) {
	u, err := newUnpacker(f.dir, f.sums)
	if err != nil {
		return nil, err
	}
	kept, err := keptFile(f.dir, kindBlobs, f.id.digest, f.id.size)
	switch {
	case err == nil:
		err = f.stream(ctx, func() (io.ReadCloser, error) { return kept, nil }, u.unpack)
		var damaged *damagedError
		if errors.As(err, &damaged) {
			err = damaged.err // it is on our own disk, and is so next time
		}
	case errors.Is(err, fs.ErrNotExist):
		err = f.download(ctx, u)
	}
	if err == nil {
		err = f.verifyTar(u)
	}
	if err == nil {
		err = u.publish(objectName(f.id.diffID))
	}
	if err != nil {
		return nil, errors.Join(err, discard(u.file))
	}
	return u.tar(), nil
}

// download streams the source into both a blob and a tar.
func (f *fetcher) download(ctx context.Context, u *unpacker) error {
	if f.id.digest == f.id.diffID {
		// Not compressed: one file is both.
		return f.stream(ctx, f.src.Compressed, u.unpack)
	}
	tmp, err := f.dir.TempFile()
	if err != nil {
		return err
	}
	err = f.stream(ctx, f.src.Compressed, copyTo(tmp), u.unpack)
	if err == nil {
		// Published before the tar is verified: its digest is right.
		err = f.dir.Publish(kindBlobs, objectName(f.id.digest), tmp)
	}
	if err != nil {
		return errors.Join(err, discard(tmp))
	}
	return tmp.Close()
}

func (f *fetcher) verifyTar(u *unpacker) error {
	if got := u.diffID.hash(); got != f.id.diffID {
		return fmt.Errorf("uncompressed it has the digest %s instead of the diffID %s", got, f.id.diffID)
	}
	return nil
}

// stream gives the source's bytes to the consumers and verifies their number and digest.
func (f *fetcher) stream(ctx context.Context, open func() (io.ReadCloser, error), consumers ...func(context.Context, io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	rc, err := open()
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	// A source may block in Read for as long as its peer likes.
	stop := context.AfterFunc(ctx, func() { _ = rc.Close() })
	defer stop()
	digest := newDigester()
	out := newFanout(ctx, append(consumers, copyTo(digest))...)
	from := &observed{Reader: rc}
	n, err := io.Copy(onlyWriter{out}, io.LimitReader(from, f.id.size+1))
	err = errors.Join(err, rc.Close())
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
	case n > f.id.size:
		err = &damagedError{fmt.Errorf("it is longer than the %d bytes it should have", f.id.size)}
	case n < f.id.size:
		err = fmt.Errorf("it is truncated: %d of %d bytes: %w", n, f.id.size, io.ErrUnexpectedEOF)
	}
	if closeErr := out.CloseWithError(orEOF(err)); closeErr != nil {
		if ctx.Err() == nil && from.mayBeDamaged(closeErr) {
			return &damagedError{closeErr}
		}
		return closeErr
	}
	if got := digest.hash(); got != f.id.digest {
		return &damagedError{fmt.Errorf("it has the digest %s", got)}
	}
	return nil
}

// observed remembers the error that reading ended with.
type observed struct {
	io.Reader
	err error
}

func (o *observed) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		o.err = err
	}
	return n, err
}

// mayBeDamaged reports whether streaming failed because of what was read: the source says that it is not what was asked for,
// or its consumers, for which the digest comes too late, cannot make sense of it.
func (o *observed) mayBeDamaged(err error) bool {
	var says interface{ Damaged() bool }
	if o.err != nil {
		return errors.As(o.err, &says) && says.Damaged()
	}
	var disk *fs.PathError
	return !errors.As(err, &disk)
}

// unpacker turns a layer of any compression into a tar on disk with an index.
type unpacker struct {
	dir     *state.Dir
	sums    bool
	file    *os.File
	diffID  *digester
	index   *Index
	extents *extents
}

func newUnpacker(dir *state.Dir, sums bool) (*unpacker, error) {
	f, err := dir.TempFile()
	if err != nil {
		return nil, err
	}
	return &unpacker{dir: dir, sums: sums, file: f, diffID: newDigester()}, nil
}

// unpack is the consumer that reads a possibly compressed tar.
func (u *unpacker) unpack(ctx context.Context, r io.Reader) error {
	z, _, err := compression.NewReader(r)
	if err != nil {
		return err
	}
	out := newFanout(ctx, copyTo(u.file), copyTo(u.diffID), func(ctx context.Context, r io.Reader) error {
		var err error
		u.index, u.extents, err = readTarWith(ctx, r, tarOptions{sums: u.sums, holes: maxHoles})
		return err
	})
	_, err = io.Copy(onlyWriter{out}, z)
	if closeErr := out.CloseWithError(orEOF(err)); closeErr != nil {
		err = closeErr
	}
	return errors.Join(err, z.Close())
}

// publish keeps the tar and its index in the state directory under name.
func (u *unpacker) publish(name string) error {
	if err := u.dir.Publish(kindTars, name, u.file); err != nil {
		return err
	}
	data, err := encodeIndex(u.index, u.extents)
	if err != nil {
		return err
	}
	f, err := u.dir.TempFile()
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = u.dir.Publish(kindIndexes, name, f)
	}
	if err != nil {
		return errors.Join(err, discard(f))
	}
	return f.Close()
}

func (u *unpacker) tar() *Tar {
	return &Tar{index: u.index, extents: u.extents, r: u.file}
}

func rewind(f *os.File) (*os.File, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fetches is how often a blob that arrives damaged is fetched.
const fetches = 3

// damagedError says that what came of a blob is not right; what comes next time may be.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// fetchedAgain repeats fetch while what it gets is damaged, a few times.
func fetchedAgain(ctx context.Context, fetch func() error) error {
	for attempt := 1; ; attempt++ {
		err := fetch()
		var damaged *damagedError
		if attempt >= fetches || ctx.Err() != nil || !errors.As(err, &damaged) {
			return err
		}
	}
}

// truncate empties a file that is written from its start.
func truncate(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
