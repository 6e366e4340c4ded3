package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
)

// extents say where in a tar the contents of an index's entries lie.
type extents struct {
	tarSize int64    // bytes
	at      []extent // by position in the index
}

type extent struct {
	// offset is that of the content, or if sparse that of the entry's first
	// header block: holes are not in the tar, so it has to be parsed again.
	offset int64
	sparse bool
}

// Tar is an uncompressed tar with its table of contents. It is safe for concurrent use.
type Tar struct {
	index   *Index
	extents *extents
	r       io.ReaderAt
}

// Index is the table of contents.
func (t *Tar) Index() *Index { return t.index }

// withSums returns the tar with an index that has all sums, for which it is read again if it was kept by somebody who did not
// need them.
func (t *Tar) withSums(ctx context.Context) (*Tar, error) {
	for e := range t.index.All() {
		if e.Type == Regular && e.Sum.IsZero() {
			index, extents, err := readTar(ctx, io.NewSectionReader(t.r, 0, t.Size()))
			return &Tar{index: index, extents: extents, r: t.r}, err
		}
	}
	return t, nil
}

// Size is the length of the tar in bytes.
func (t *Tar) Size() int64 { return t.extents.tarSize }

// ReaderAt gives the bytes of the tar. Of a [Blob] from [FromBlob] it is an *os.File, whose
// own offset is not used.
func (t *Tar) ReaderAt() io.ReaderAt { return t.r }

// Extent says where in the tar the content of the i-th entry lies: Entry.Size bytes from
// offset. It is false for sparse files and for entries without content.
func (t *Tar) Extent(i int) (offset int64, contiguous bool) {
	at := t.extents.at[i]
	return at.offset, !at.sparse && t.index.At(i).Type == Regular
}

// Content reads the content of the i-th entry, which is Regular. Readers are independent of
// each other.
func (t *Tar) Content(i int) (io.Reader, error) {
	e, err := t.index.checkRegular(i)
	if err != nil {
		return nil, err
	}
	at := t.extents.at[i]
	if !at.sparse {
		return io.NewSectionReader(t.r, at.offset, e.Size), nil
	}
	tr := tar.NewReader(io.NewSectionReader(t.r, at.offset, t.extents.tarSize-at.offset))
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("reading %q: the tar ends before it", e.Path)
		case err != nil:
			return nil, fmt.Errorf("reading %q: %w", e.Path, err)
		case h.Typeflag != tar.TypeXGlobalHeader:
			return tr, nil
		}
	}
}

// open is Content in the form that Layer.Open has.
func (t *Tar) open(i int) (io.ReadCloser, error) {
	r, err := t.Content(i)
	if err != nil {
		return nil, err
	}
	e := t.index.At(i)
	return newExactReader(io.NopCloser(r), e.Path, e.Size, nil), nil
}
