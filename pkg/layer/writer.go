package layer

import (
	"context"

	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/state"
)

// Writer serialises layers, each in each form once, whoever asks for it. It is safe for concurrent
// use.
type Writer struct {
	ctx  context.Context
	dir  *state.Dir
	made memo.Memo[writing, Blob]
}

type writing struct {
	layer Layer
	form  string
}

// NewWriter returns a writer that keeps what it makes in dir, and works until ctx ends.
func NewWriter(ctx context.Context, dir *state.Dir) *Writer { return &Writer{ctx: ctx, dir: dir} }

// Write serialises l, see the function of that name.
func (w *Writer) Write(ctx context.Context, l Layer, f Form) (Blob, error) {
	return w.made.Do(ctx, w.ctx, writing{l, f.String()}, func(ctx context.Context) (Blob, error) {
		return Write(ctx, f.of(l), w.dir, f.Compression)
	})
}

// Life is the context that bounds what the writer does.
func (w *Writer) Life() context.Context { return w.ctx }
