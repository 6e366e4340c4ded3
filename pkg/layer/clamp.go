package layer

import (
	"context"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// Clamp returns l with every modification time later than epoch set to epoch: what
// SOURCE_DATE_EPOCH asks for (https://reproducible-builds.org/specs/source-date-epoch/).
func Clamp(l Layer, epoch time.Time) Layer {
	return &clamped{Layer: l, epoch: epoch.UTC()}
}

type clamped struct {
	Layer
	epoch time.Time
	index atomic.Pointer[Index]
}

func (c *clamped) Index(ctx context.Context) (*Index, error) {
	if x := c.index.Load(); x != nil {
		return x, nil
	}
	x, err := c.Layer.Index(ctx)
	if err != nil {
		return nil, err
	}
	// Of several first calls one wins, and all return its index.
	c.index.CompareAndSwap(nil, x.clamp(c.epoch))
	return c.index.Load(), nil
}

func (c *clamped) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	x, err := c.Layer.Index(ctx)
	if err != nil {
		return nil, err
	}
	return OpenAt(ctx, c.Layer, x, i)
}

// clamp returns x itself if no entry is later than epoch.
func (x *Index) clamp(epoch time.Time) *Index {
	late := func(e Entry) bool { return e.ModTime.After(epoch) }
	if !slices.ContainsFunc(x.entries, late) {
		return x
	}
	entries := slices.Clone(x.entries)
	for i := range entries {
		if late(entries[i]) {
			entries[i].ModTime = epoch
		}
	}
	return &Index{entries: entries}
}
