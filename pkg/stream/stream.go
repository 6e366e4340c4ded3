// Package stream bounds reading by a context.
package stream

import (
	"context"
	"io"
)

// Reader returns a reader that ends with the context's cause when that is done. A Read of r that is under
// way is not interrupted.
func Reader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c *reader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
