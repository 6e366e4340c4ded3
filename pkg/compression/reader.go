package compression

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/slipway-build/slipway/pkg/compression/inflate"
)

const (
	// maxZstdWindow is what a frame may ask us to keep in memory, in bytes. It is
	// also the most that the zstd program accepts without being told to.
	maxZstdWindow = 128 << 20
	// readBuffer is how much compressed input is read at a time, in bytes.
	readBuffer = 256 << 10
	// sniffLen is the length of the longest magic number.
	sniffLen = 6
)

var magics = []struct {
	algorithm Algorithm
	magic     string
}{
	{Gzip, "\x1f\x8b\x08"},
	{Zstd, "\x28\xb5\x2f\xfd"},
	{XZ, "\xfd7zXZ\x00"},
}

// Detect returns the algorithm by the first bytes of a stream: None for anything that is not
// recognised. Six bytes are enough.
func Detect(head []byte) Algorithm {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.algorithm
		}
	}
	switch {
	case len(head) >= 4 && bytes.HasPrefix(head, []byte("BZh")) && head[3] >= '1' && head[3] <= '9':
		return Bzip2
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		return Zstd // a skippable frame, with which a zstd stream may begin (RFC 8878, 3.1.2)
	}
	return None
}

// NewReader returns the decompressed content of r and the algorithm, which it recognises by
// the first bytes; a stream of no known format is passed on as it is. Streams that are concatenated
// are read as one. What the stream itself protects by a checksum is verified, and
// a stream that ends early gives an error matching io.ErrUnexpectedEOF. Decompression may run ahead
// in other goroutines: Close ends them and must be called; it does not close r. Of gzip and zstd, io.Copy saves
// copying.
//
// There is no limit on how much comes out; memory is bounded except for xz, where the
// stream chooses up to 4 GiB, which are used only as far as that much content has come out.
func NewReader(r io.Reader) (io.ReadCloser, Algorithm, error) {
	br := bufio.NewReaderSize(r, readBuffer)
	head, err := br.Peek(sniffLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, err
	}
	a := Detect(head)
	rc, err := open(br, a)
	if err != nil {
		return nil, a, fmt.Errorf("reading %s: %w", a, noEOF(err))
	}
	return rc, a, nil
}

func open(br *bufio.Reader, a Algorithm) (io.ReadCloser, error) {
	switch a {
	case Gzip:
		z, err := inflate.NewReader(br)
		if err != nil {
			return nil, err
		}
		return &reader{z, a, nil}, nil
	case Zstd:
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return &reader{z, a, z.Close}, nil
	case Bzip2:
		return &reader{bzip2.NewReader(br), a, nil}, nil
	case XZ:
		tail := &xzTail{r: br}
		z, err := xz.NewReader(tail)
		if err != nil {
			return nil, err
		}
		return &reader{tail.checked(z), a, nil}, nil
	default:
		return io.NopCloser(br), nil
	}
}

// reader names the algorithm in errors.
type reader struct {
	r         io.Reader
	algorithm Algorithm
	close     func()
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	return n, r.named(err)
}

// WriteTo implements io.WriterTo.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	out := &output{w: w}
	n, err := io.Copy(out, r.r)
	if out.err != nil {
		return n, out.err
	}
	return n, r.named(err)
}

func (r *reader) named(err error) error {
	if err != nil && err != io.EOF {
		err = fmt.Errorf("decompressing %s: %w", r.algorithm, err)
	}
	return err
}

// output remembers the error that writing ended with, which is not the decompressor's.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.err = err
	return n, err
}

func (r *reader) Close() error {
	if r.close != nil {
		r.close()
	}
	return nil
}

// noEOF turns the end of input where a header is expected into an error that no caller
// takes for a regular end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
