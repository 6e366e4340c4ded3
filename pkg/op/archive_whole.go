package op

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrNoArchive says that something is not what an [Archive] can be read from.
var ErrNoArchive = errors.New("it is no tar archive, neither plain nor compressed with gzip, bzip2, xz or zstd")

// tarBlock is the unit in which tars are written, in bytes.
const tarBlock = 512

// wholeTar are the entries of a tar that must have its end, a block of zeros (POSIX, pax, "ustar Interchange
// Format"): archive/tar takes one that was cut off between two entries for complete.
type wholeTar struct {
	*tar.Reader
	in *blockReader
	// vouched says that nothing is missing where that end is; nil for never.
	vouched func() bool
}

func newWholeTar(r io.Reader, vouched func() bool) *wholeTar {
	in := &blockReader{r: r}
	return &wholeTar{tar.NewReader(in), in, vouched}
}

// Next implements entries. The content of the entry before must have been read.
func (t *wholeTar) Next() (*tar.Header, error) {
	t.in.nextHeader()
	first := t.in.header == 0
	h, err := t.Reader.Next()
	switch {
	case first && (errors.Is(err, tar.ErrHeader) || err != nil && t.in.n < tarBlock):
		return nil, ErrNoArchive
	case err == io.EOF && !t.in.sawEnd() && (t.vouched == nil || !t.vouched()):
		return nil, fmt.Errorf("the archive is cut off: %w", io.ErrUnexpectedEOF)
	}
	return h, err
}

// blockReader knows whether what was read since the beginning of a header are zeros. It hides everything but Read,
// so that archive/tar does not seek and every byte passes here.
type blockReader struct {
	r       io.Reader
	n       int64 // bytes read
	header  int64 // offset of the header
	nonzero bool  // something else than zeros was read from there on
}

// nextHeader says that a header begins at the next block.
func (b *blockReader) nextHeader() {
	b.header = (b.n + tarBlock - 1) / tarBlock * tarBlock
	b.nonzero = false
}

// sawEnd reports whether a block of zeros was where a header would be.
func (b *blockReader) sawEnd() bool { return !b.nonzero && b.n >= b.header+tarBlock }

func (b *blockReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if !b.nonzero && b.n >= b.header {
		b.nonzero = slices.ContainsFunc(p[:n], func(c byte) bool { return c != 0 })
	}
	b.n += int64(n)
	return n, err
}
