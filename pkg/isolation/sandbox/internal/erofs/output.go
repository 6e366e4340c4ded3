package erofs

import (
	"context"
	"fmt"
	"io"
)

// bufferSize is how much of an image is in memory at a time, besides what describes the nodes and a directory.
const bufferSize = 256 << 10

// output collects an image's bytes into larger writes.
type output struct {
	ctx     context.Context
	w       io.Writer
	buf     []byte
	written int64 // before buf
}

func newOutput(ctx context.Context, w io.Writer) *output {
	return &output{ctx: ctx, w: w, buf: make([]byte, 0, bufferSize)}
}

func (o *output) flush() error {
	if err := context.Cause(o.ctx); err != nil {
		return err
	}
	n, err := o.w.Write(o.buf)
	if err == nil && n < len(o.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing image: %w", err)
	}
	o.written += int64(n)
	o.buf = o.buf[:0]
	return nil
}

// room makes sure that there is room in the buffer, and returns it.
func (o *output) room() ([]byte, error) {
	if len(o.buf) == cap(o.buf) {
		if err := o.flush(); err != nil {
			return nil, err
		}
	}
	return o.buf[len(o.buf):cap(o.buf)], nil
}

func (o *output) write(p []byte) error {
	for len(p) > 0 {
		room, err := o.room()
		if err != nil {
			return err
		}
		n := copy(room, p)
		o.buf = o.buf[:len(o.buf)+n]
		p = p[n:]
	}
	return nil
}

// seek writes zeros up to an offset.
func (o *output) seek(offset int64) error {
	missing := offset - o.written - int64(len(o.buf))
	if missing < 0 {
		return fmt.Errorf("writing image: what was to be at byte %d is %d bytes late", offset, -missing)
	}
	for missing > 0 {
		room, err := o.room()
		if err != nil {
			return err
		}
		n := min(missing, int64(len(room)))
		clear(room[:n])
		o.buf = o.buf[:len(o.buf)+int(n)]
		missing -= n
	}
	return nil
}

// copy writes what r has, which must be size bytes.
func (o *output) copy(r io.Reader, size int64) error {
	empty := 0
	for rest := size; ; {
		room, err := o.room()
		if err != nil {
			return err
		}
		// One byte more than there should be would show that there is more.
		n, err := r.Read(room[:min(int64(len(room)), rest+1)])
		if rest -= int64(n); rest < 0 {
			return fmt.Errorf("content has more than %d bytes", size)
		}
		o.buf = o.buf[:len(o.buf)+n]
		switch {
		case err == io.EOF && rest > 0:
			return fmt.Errorf("content has %d bytes of %d: %w", size-rest, size, io.ErrUnexpectedEOF)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n > 0:
			empty = 0
		default:
			if empty++; empty == 100 {
				return io.ErrNoProgress
			}
		}
	}
}
