package inflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Reader reads the content of a gzip stream.
type Reader struct {
	d    *decoder
	rest []byte // decompressed, not read
	crc  uint32
	size uint32
	err  error
}

// NewReader returns a reader of what the gzip stream in r holds; several streams in a row are read as one. Their checksums
// and lengths are verified. A stream that ends early gives io.ErrUnexpectedEOF, and one that is not gzip an error that
// matches [ErrCorrupt]. It reads ahead of what it gives out, and r to its end.
func NewReader(r io.Reader) (*Reader, error) {
	z := &Reader{d: newDecoder(r)}
	if err := z.header(); err != nil {
		return nil, err
	}
	return z, nil
}

// next makes the next bytes the rest.
func (z *Reader) next() error {
	for z.err == nil {
		z.rest, z.err = z.d.next()
		switch {
		case z.err == nil:
			z.crc = crc32.Update(z.crc, crc32.IEEETable, z.rest)
			z.size += uint32(len(z.rest))
			return nil
		case errors.Is(z.err, io.EOF):
			z.err = z.between()
		}
	}
	return z.err
}

// Read implements io.Reader.
func (z *Reader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (z *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(z.rest) > 0 {
			n, err := w.Write(z.rest)
			total += int64(n)
			if z.rest = z.rest[n:]; err != nil {
				return total, err
			}
		}
		switch err := z.next(); err {
		case nil:
		case io.EOF:
			return total, nil
		default:
			return total, err
		}
	}
}

// between verifies what follows a stream and begins the next one. At the end of all it returns io.EOF.
func (z *Reader) between() error {
	tail, err := z.d.bytes(8)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(tail) != z.crc || binary.LittleEndian.Uint32(tail[4:]) != z.size {
		return corrupt("the checksum or the length is wrong")
	}
	if z.d.fill(1); len(z.d.in) == z.d.pos {
		return z.d.readErr
	}
	z.crc, z.size = 0, 0
	z.d.restart()
	return z.header()
}

// Flags of the header (RFC 1952, 2.3.1).
const (
	hasCRC     = 1 << 1
	hasExtra   = 1 << 2
	hasName    = 1 << 3
	hasComment = 1 << 4
	reserved   = 7 << 5
)

// header reads over the header of a stream.
func (z *Reader) header() error {
	fixed, err := z.d.bytes(10)
	if err != nil {
		return err
	}
	flags := fixed[3]
	if !bytes.HasPrefix(fixed, []byte("\x1f\x8b\x08")) || flags&reserved != 0 {
		return corrupt("no gzip header")
	}
	crc := crc32.ChecksumIEEE(fixed)
	if flags&hasExtra != 0 {
		if crc, err = z.skipExtra(crc); err != nil {
			return err
		}
	}
	for _, flag := range []byte{hasName, hasComment} {
		if flags&flag != 0 {
			if crc, err = z.skipString(crc); err != nil {
				return err
			}
		}
	}
	if flags&hasCRC != 0 {
		sum, err := z.d.bytes(2)
		if err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(sum) != uint16(crc) {
			return corrupt("the header's checksum is wrong")
		}
	}
	return nil
}

func (z *Reader) skipExtra(crc uint32) (uint32, error) {
	size, err := z.d.bytes(2)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint16(size)
	crc = crc32.Update(crc, crc32.IEEETable, size)
	extra, err := z.d.bytes(int(n))
	return crc32.Update(crc, crc32.IEEETable, extra), err
}

// skipString reads over a string that ends with a zero byte.
func (z *Reader) skipString(crc uint32) (uint32, error) {
	for {
		c, err := z.d.bytes(1)
		if err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, crc32.IEEETable, c)
		if c[0] == 0 {
			return crc, nil
		}
	}
}

// bytes uses the next n bytes of the input, which stands between streams; n is less than inSize. They are valid until
// more is read.
func (d *decoder) bytes(n int) ([]byte, error) {
	d.fill(n)
	if len(d.in)-d.pos < n {
		return nil, d.short()
	}
	d.pos += n
	return d.in[d.pos-n : d.pos], nil
}
