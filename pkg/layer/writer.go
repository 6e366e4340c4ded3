package layer

import (
	"context"
	"errors"
	"sync"

	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/state"
)

// Writer serialises layers, each in each form once, whoever asks for it. It is safe for concurrent
// use.
type Writer struct {
	ctx   context.Context
	stop  context.CancelCauseFunc
	ahead sync.WaitGroup
	slots chan struct{} // for what is written ahead
	dir   *state.Dir
	made  memo.Memo[writing, Blob]
}

type writing struct {
	layer Layer
	form  string
}

// parallelAhead is how many layers are serialised at once that nobody has asked for yet. One by itself uses several cores.
const parallelAhead = 2

// errWriterClosed is the cause of cancellation after Close.
var errWriterClosed = errors.New("layers are not asked for any more")

// NewWriter returns a writer that keeps what it makes in dir, and works until ctx ends or it is closed.
func NewWriter(ctx context.Context, dir *state.Dir) *Writer {
	w := &Writer{dir: dir, slots: make(chan struct{}, parallelAhead)}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	return w
}

// Close ends what Ahead has begun and nobody has waited for. The writer can't be used any more.
func (w *Writer) Close() error {
	w.stop(errWriterClosed)
	w.ahead.Wait()
	return nil
}

// Write serialises l, see the function of that name.
func (w *Writer) Write(ctx context.Context, l Layer, f Form) (Blob, error) {
	return w.made.Do(ctx, w.ctx, writing{l, f.String()}, func(ctx context.Context) (Blob, error) {
		return Write(ctx, f.of(l), w.dir, f.Compression)
	})
}

// Ahead begins to serialise l, for whoever will ask for it. Whether that succeeded they hear when they do: a failure is not
// remembered, but repeated.
func (w *Writer) Ahead(l Layer, f Form) {
	w.ahead.Go(func() {
		select {
		case w.slots <- struct{}{}:
			defer func() { <-w.slots }()
			_, _ = w.Write(w.ctx, l, f)
		case <-w.ctx.Done():
		}
	})
}

// Life is the context that bounds what the writer does.
func (w *Writer) Life() context.Context { return w.ctx }
