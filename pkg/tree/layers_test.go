package tree

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/slipway-build/slipway/pkg/layer"
)

// failing is a layer whose content cannot be read.
type failing struct {
	layer.Layer
	err error
}

func (f *failing) Open(context.Context, string) (io.ReadCloser, error) { return nil, f.err }

// counting counts what is asked of a layer.
type counting struct {
	layer.Layer
	indexed, opened atomic.Int64
}

func (c *counting) Index(ctx context.Context) (*layer.Index, error) {
	c.indexed.Add(1)
	return c.Layer.Index(ctx)
}

func (c *counting) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	c.opened.Add(1)
	return c.Layer.Open(ctx, p)
}

// gated is a layer whose index is there when the test says so.
type gated struct {
	layer.Layer
	asked chan struct{} // receives once per call
	gate  chan error    // what the call waits for and fails with
}

func newGated(l layer.Layer) *gated {
	return &gated{l, make(chan struct{}, 100), make(chan error)}
}

func (g *gated) Index(ctx context.Context) (*layer.Index, error) {
	g.asked <- struct{}{}
	select {
	case err := <-g.gate:
		if err != nil {
			return nil, err
		}
		return g.Layer.Index(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
