package tree

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Sum returns the SHA-256 of a regular file's content: the one in its entry, or else one that
// is computed when first asked for and kept with the inode, for all its names and all views
// that have it. Of anything else it is an error that matches fs.ErrInvalid.
func (n *Node) Sum(ctx context.Context) (layer.Sum, error) {
	e := n.inode.entry
	switch {
	case e.Type != layer.Regular:
		return layer.Sum{}, &fs.PathError{Op: "sum", Path: e.Path, Err: fs.ErrInvalid}
	case !e.Sum.IsZero():
		return e.Sum, nil
	}
	sum := n.inode.sum.Load()
	if sum == nil {
		n.inode.sum.CompareAndSwap(nil, new(shared[layer.Sum]))
		sum = n.inode.sum.Load()
	}
	return sum.get(ctx, n.computeSum)
}

func (n *Node) computeSum(ctx context.Context) (sum layer.Sum, err error) {
	e := n.inode.entry
	r, err := n.Open(ctx)
	if err != nil {
		return layer.Sum{}, fmt.Errorf("sum of %s: %w", e.Path, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("sum of %s: %w", e.Path, cerr)
		}
	}()
	h := sha256.New()
	// Most files are small, and there can be very many.
	buf := make([]byte, min(max(e.Size, 512), 64<<10))
	if _, err := io.CopyBuffer(h, contextReader{ctx, r}, buf); err != nil {
		return layer.Sum{}, fmt.Errorf("sum of %s: %w", e.Path, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}

// contextReader ends with the context's error when that is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
