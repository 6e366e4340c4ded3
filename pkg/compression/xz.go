package compression

import (
	"bytes"
	"io"
)

// xzMagic is what every xz stream ends with; only zeros may follow, as padding (The .xz File
// Format, 2.1.2.4 and 2.2).
const xzMagic = "YZ"

// xzTail remembers how its input ends, because the xz library takes a stream that is cut
// between two blocks for a complete one.
type xzTail struct {
	r    io.Reader
	last []byte // at most two bytes, those before the final zeros
}

func (t *xzTail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if b := bytes.TrimRight(p[:n], "\x00"); len(b) > 0 {
		t.last = append(t.last, b[max(0, len(b)-len(xzMagic)):]...)
		t.last = t.last[max(0, len(t.last)-len(xzMagic)):]
	}
	return n, err
}

// checked passes on what the xz library reads and makes an incomplete stream an error.
func (t *xzTail) checked(z io.Reader) io.Reader { return &xzReader{z: z, tail: t} }

type xzReader struct {
	z    io.Reader
	tail *xzTail
}

func (r *xzReader) Read(p []byte) (int, error) {
	n, err := r.z.Read(p)
	if err == io.EOF && string(r.tail.last) != xzMagic {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
