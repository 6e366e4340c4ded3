package inplace

import (
	"context"
	"io"
	"sync"

	"github.com/slipway-build/slipway/pkg/layer"
)

// lent is a layer of what a process changed, whose contents are where the process left them: in a directory that is lent to
// it until something else is to happen there. Then they are copied. After the last process of a stage that never
// happens, and nothing is copied. It implements [layer.Positional].
type lent struct {
	index *layer.Index

	mu      sync.Mutex
	there   layer.Layer // with the contents in the directory; nil after settle
	copies  layer.Layer // with copies of them; nil before settle
	readers sync.WaitGroup
}

// lend makes a lent layer of one that reads from a directory.
func lend(ctx context.Context, there layer.Layer) (*lent, error) {
	index, err := there.Index(ctx)
	return &lent{index: index, there: there}, err
}

// Index implements [layer.Layer].
func (l *lent) Index(context.Context) (*layer.Index, error) { return l.index, nil }

// Open implements [layer.Layer].
func (l *lent) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	from, done := l.borrow()
	return reading(done)(from.Open(ctx, path))
}

// OpenAt implements [layer.Positional].
func (l *lent) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	from, done := l.borrow()
	return reading(done)(layer.OpenAt(ctx, from, l.index, i))
}

// borrow gives the layer to read from, and what to call when that has ended.
func (l *lent) borrow() (from layer.Layer, done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.copies != nil {
		return l.copies, func() {}
	}
	l.readers.Add(1)
	return l.there, sync.OnceFunc(l.readers.Done)
}

// reading calls done when what is opened is closed, or was not opened.
func reading(done func()) func(io.ReadCloser, error) (io.ReadCloser, error) {
	return func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		if err != nil {
			done()
			return nil, err
		}
		return &borrowed{r, done}, nil
	}
}

// borrowed is an open content.
type borrowed struct {
	io.ReadCloser
	done func()
}

// Close implements io.Closer.
func (b *borrowed) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// settle copies the contents with keep, unless that was done already. When it returns, nobody reads in the directory any more.
// Who reads meanwhile is waited for, and may open further contents while they are.
func (l *lent) settle(ctx context.Context, keep func(context.Context, layer.Layer, *layer.Index) (layer.Layer, error)) error {
	l.mu.Lock()
	there := l.there
	l.mu.Unlock()
	if there == nil {
		return nil
	}
	copies, err := keep(ctx, there, l.index)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.there, l.copies = nil, copies
	l.mu.Unlock()
	read := make(chan struct{})
	go func() { l.readers.Wait(); close(read) }()
	select {
	case <-read:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
