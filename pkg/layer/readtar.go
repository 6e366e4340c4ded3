package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// ReadTar reads an uncompressed OCI layer in one pass and returns its index, with the SHA-256
// of every regular file. The whole of r is read, also what follows the end of the tar.
//
// The index says what would be there if the entries were unpacked one after the other into
// an empty root:
//
//   - An entry replaces what an earlier one has made at its path, with everything below
//     it, except that a directory on a directory only replaces its metadata.
//   - Parents that have no entry of their own are implied. They are in the index only
//     if they have to be: because a whiteout or opaque marker is about them.
//   - A path that leads through a symbolic link made by an earlier entry means the
//     place that the link points to, seen from inside the root as chroot(2) would: an
//     absolute target starts at the root. A target that uses ".." to go above
//     the root is an error, as is a path through anything else than a directory.
//     So the index never has an entry below a symbolic link, and whoever unpacks
//     it by its paths cannot be led astray by this layer alone.
//   - Whiteouts and opaque markers are about lower layers only, wherever they stand in the
//     tar (OCI image spec, layer.md, "Whiteouts"). With a directory of the same name a
//     whiteout makes it opaque; with anything else it says nothing more.
//   - A hard link shares the inode that its target has at this moment. A target that
//     comes later in the tar is found at the end; one that never comes is a file of
//     a lower layer. The header of a hard link does not change the inode.
//   - Of the names of an inode the first in tree order carries type, metadata and content, and
//     the others are hard links to it.
//
// Everything in the tar is foreign: names that climb out of the root, links that lead out, sizes
// and counts that nobody could store, and tars that are truncated or damaged give an
// error, which is a [*TarError] where one entry is to blame.
func ReadTar(ctx context.Context, r io.Reader) (*Index, error) {
	x, _, err := readTar(ctx, r)
	return x, err
}

// TarError says which entry of a tar is to blame.
type TarError struct {
	Name string // as the tar spells it
	Err  error
}

// Error implements error.
func (e *TarError) Error() string { return fmt.Sprintf("layer tar: entry %q %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *TarError) Unwrap() error { return e.Err }

// maxHoles is how many bytes of holes the sparse files of a layer may have together. Holes cost
// nothing in the tar but have to be read, hashed and stored like everything else.
const maxHoles = 16 << 30

var errTooSparse = errors.New("is a sparse file with more holes than a layer may have")

// readTar also says where the contents are.
func readTar(ctx context.Context, r io.Reader) (*Index, *extents, error) {
	return readTarWith(ctx, r, tarOptions{sums: true, holes: maxHoles})
}

// tarOptions are what readers of tars differ in.
type tarOptions struct {
	sums  bool  // of files that are not empty
	holes int64 // bytes, of all files together
}

func readTarWith(ctx context.Context, r io.Reader, o tarOptions) (*Index, *extents, error) {
	t := &tarReader{
		in:    &countingReader{r: r},
		merge: newMerger(),
		buf:   make([]byte, 128<<10),
		holes: o.holes,
	}
	if o.sums {
		t.hash = sha256.New()
	}
	if err := t.run(ctx); err != nil {
		return nil, nil, err
	}
	x, at, err := t.merge.finish()
	if err != nil {
		return nil, nil, fmt.Errorf("layer tar: %w", err)
	}
	return x, &extents{tarSize: t.in.n, at: at}, nil
}

type tarReader struct {
	in    *countingReader
	merge *merger
	hash  hash.Hash // nil without sums
	buf   []byte
	holes int64 // bytes that may still come
}

func (t *tarReader) run(ctx context.Context) error {
	tr := tar.NewReader(t.in)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := t.in.nextHeader()
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if t.in.sawHeader || t.in.n%blockSize != 0 {
				return fmt.Errorf("layer tar: at byte %d: %w", start, io.ErrUnexpectedEOF)
			}
			break
		}
		if err != nil {
			return fmt.Errorf("layer tar: at byte %d: %w", start, err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // a comment, such as git's commit: runtimes ignore it too
		}
		if err := t.entry(ctx, tr, h, start); err != nil {
			return &TarError{Name: h.Name, Err: err}
		}
	}
	if _, err := io.CopyBuffer(io.Discard, onlyReader{t.in}, t.buf); err != nil {
		return fmt.Errorf("layer tar: after its end: %w", err)
	}
	return nil
}

// entry handles one entry whose first header block is at the offset start.
func (t *tarReader) entry(ctx context.Context, tr *tar.Reader, h *tar.Header, start int64) error {
	e, err := entryOf(h)
	if err != nil {
		return err
	}
	if e.Size > t.holes && saysSparse(h) {
		return errTooSparse
	}
	at := extent{offset: t.in.n}
	if e.Type == Regular && e.Size > 0 {
		if err := t.content(ctx, tr, &e, &at, start); err != nil {
			return err
		}
	}
	if e.Type == Regular && e.Size == 0 {
		e.Sum = emptySum
	}
	return t.merge.add(e, at)
}

var emptySum = Sum(sha256.Sum256(nil))

// content hashes the entry's content, if that is wanted, and finds out whether it is sparse: then less of it is
// in the tar than its size says.
func (t *tarReader) content(ctx context.Context, tr *tar.Reader, e *Entry, at *extent, start int64) error {
	if t.hash != nil {
		t.hash.Reset()
	}
	for left := e.Size; left > 0; {
		n, err := tr.Read(t.buf[:min(left, int64(len(t.buf)))])
		if t.hash != nil {
			t.hash.Write(t.buf[:n])
		}
		left -= int64(n)
		if err != nil && (err != io.EOF || left > 0) {
			return fmt.Errorf("is damaged: %w", noEOF(err))
		}
		// Checked as we go: a file may claim to be one hole of 2⁶² bytes.
		if read, stored := e.Size-left, t.in.n-at.offset; read-stored > t.holes {
			return errTooSparse
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if stored := t.in.n - at.offset; stored != e.Size {
		t.holes -= e.Size - stored
		*at = extent{offset: start, sparse: true}
	}
	if t.hash != nil {
		t.hash.Sum(e.Sum[:0])
	}
	return nil
}

// saysSparse reports whether the header has the form of a sparse file's.
func saysSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// blockSize is the unit in which tars are written, in bytes.
const blockSize = 512

// countingReader knows the offset in the tar. It hides everything but Read, so that
// archive/tar does not seek and every byte passes here.
type countingReader struct {
	r io.Reader
	n int64
	// header is the offset of the next header block. sawHeader is set when
	// anything but zeros has been read from there on, which is how a tar
	// that ends in the middle of a header's several blocks is told from one that
	// has come to its end: archive/tar reports both alike.
	header    int64
	sawHeader bool
}

// nextHeader notes and returns the offset of the next header block.
func (c *countingReader) nextHeader() int64 {
	c.header = (c.n + blockSize - 1) &^ (blockSize - 1)
	c.sawHeader = false
	return c.header
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if !c.sawHeader && c.n >= c.header {
		c.sawHeader = slices.ContainsFunc(p[:n], func(b byte) bool { return b != 0 })
	}
	c.n += int64(n)
	return n, err
}

// onlyReader hides WriterTo and the like.
type onlyReader struct{ io.Reader }

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
