package layer

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	// chunkSize is how much data passes from one goroutine to the next at a time, in
	// bytes.
	chunkSize = 256 << 10
	// chunksAhead is how many chunks may wait in front of one consumer.
	chunksAhead = 8
)

// fanout gives everything written to it to several consumers at once, each in a goroutine
// of its own, so that hashing, compressing and storing one stream overlap. When a consumer fails,
// writing fails. Memory is bounded by the slowest one. Close must be called.
type fanout struct {
	ctx   context.Context
	group *errgroup.Group
	outs  []chan *chunk
	fill  *chunk
	once  sync.Once
	err   error
}

type chunk struct {
	data []byte
	refs atomic.Int32
	err  error // instead of data: what the consumers' Read returns
}

var chunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, 0, chunkSize)} }}

func (c *chunk) release() {
	if c.err == nil && c.refs.Add(-1) == 0 {
		c.data = c.data[:0]
		chunks.Put(c)
	}
}

// newFanout starts the consumers.
func newFanout(ctx context.Context, consumers ...func(context.Context, io.Reader) error) *fanout {
	f := &fanout{}
	f.group, f.ctx = errgroup.WithContext(ctx)
	for _, consume := range consumers {
		out := make(chan *chunk, chunksAhead)
		f.outs = append(f.outs, out)
		f.group.Go(func() error {
			r := &chunkReader{ctx: f.ctx, in: out}
			if err := consume(f.ctx, r); err != nil {
				return err
			}
			_, err := r.WriteTo(io.Discard)
			return err
		})
	}
	return f
}

// Write implements io.Writer.
func (f *fanout) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if f.fill == nil {
			f.fill = chunks.Get().(*chunk)
		}
		n := copy(f.fill.data[len(f.fill.data):chunkSize], p)
		f.fill.data = f.fill.data[:len(f.fill.data)+n]
		p = p[n:]
		if len(f.fill.data) == chunkSize {
			if err := f.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (f *fanout) flush() error {
	c := f.fill
	if f.fill = nil; c == nil {
		return nil
	}
	c.refs.Store(int32(len(f.outs)))
	return f.send(c)
}

func (f *fanout) send(c *chunk) error {
	for _, out := range f.outs {
		select {
		case out <- c:
		case <-f.ctx.Done():
			return context.Cause(f.ctx)
		}
	}
	return nil
}

// Close ends the stream, waits for the consumers and returns the first error of theirs.
func (f *fanout) Close() error { return f.CloseWithError(io.EOF) }

// CloseWithError does as Close, but the consumers' Read ends with err. Only the first call
// of either counts.
func (f *fanout) CloseWithError(err error) error {
	f.once.Do(func() {
		// If sending fails a consumer has failed, and Wait says how.
		if f.flush() == nil {
			_ = f.send(&chunk{err: err})
		}
		f.err = f.group.Wait()
	})
	return f.err
}

// chunkReader is a consumer's end.
type chunkReader struct {
	ctx  context.Context
	in   chan *chunk
	cur  *chunk
	rest []byte
	err  error
}

func (r *chunkReader) next() error {
	if r.cur != nil {
		r.cur.release()
		r.cur = nil
	}
	if r.err != nil {
		return r.err
	}
	select {
	case c := <-r.in:
		r.cur, r.rest, r.err = c, c.data, c.err
	case <-r.ctx.Done():
		r.err = context.Cause(r.ctx)
	}
	return r.err
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: it saves copying.
func (r *chunkReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.rest) > 0 {
			n, err := w.Write(r.rest)
			total += int64(n)
			if err != nil {
				return total, err
			}
			r.rest = nil
		}
		switch err := r.next(); err {
		case nil:
		case io.EOF:
			return total, nil
		default:
			return total, err
		}
	}
}

// copyTo is the consumer that writes to w.
func copyTo(w io.Writer) func(context.Context, io.Reader) error {
	return func(_ context.Context, r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	}
}
