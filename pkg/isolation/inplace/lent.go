package inplace

import (
	"context"
	"io"
	"iter"
	"os"
	"sync"

	"github.com/slipway-build/slipway/pkg/layer"
)

// lent is a layer of what a process changed, whose contents are where the process left them: in a directory that is lent to
// it until something else is to happen there. Then they are copied. After the last process of a stage that never
// happens, and nothing is copied. It implements [layer.Positional]. One goroutine at a time may settle it, and any number read.
type lent struct {
	index *layer.Index
	root  *os.Root // the directory

	mu      sync.Mutex
	there   layer.Layer // with the contents in the directory; nil after settle
	copies  layer.Layer // with copies of them; nil before settle
	readers sync.WaitGroup
}

// lend makes a lent layer of files in a directory. It closes root when it has no more need of it.
func lend(ctx context.Context, root *os.Root, n int, files iter.Seq[layer.DirFile]) (*lent, error) {
	there, err := layer.FromDirSeq(root, n, files)
	if err != nil {
		return nil, err
	}
	index, err := there.Index(ctx)
	return &lent{index: index, root: root, there: there}, err
}

// keeper makes a copy of a layer whose contents are in a directory.
type keeper func(ctx context.Context, root *os.Root, from layer.Layer, index *layer.Index) (layer.Layer, error)

// asLayer is l, or the layer of no changes if there is none.
func (l *lent) asLayer() layer.Layer {
	if l == nil {
		return layer.Empty()
	}
	return l
}

// Index implements [layer.Layer].
func (l *lent) Index(context.Context) (*layer.Index, error) { return l.index, nil }

// Open implements [layer.Layer].
func (l *lent) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	return l.open(func(from layer.Layer) (io.ReadCloser, error) { return from.Open(ctx, path) })
}

// OpenAt implements [layer.Positional].
func (l *lent) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	return l.open(func(from layer.Layer) (io.ReadCloser, error) { return layer.OpenAt(ctx, from, l.index, i) })
}

// open opens a content of the copies or, as a reader who is waited for, of what is in the directory.
func (l *lent) open(of func(layer.Layer) (io.ReadCloser, error)) (io.ReadCloser, error) {
	l.mu.Lock()
	there := l.there
	if there != nil {
		l.readers.Add(1)
	}
	l.mu.Unlock()
	if there == nil {
		return of(l.copies)
	}
	r, err := of(there)
	if err != nil {
		l.readers.Done()
		return nil, err
	}
	return &borrowed{r, sync.OnceFunc(l.readers.Done)}, nil
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

// settle copies the contents, unless there is no layer or that was done already. When it returns, nobody reads in the directory any
// more. Who reads meanwhile is waited for, and may open further contents while they are.
func (l *lent) settle(ctx context.Context, keep keeper) error {
	if l == nil || l.there == nil {
		return nil
	}
	copies, err := keep(ctx, l.root, l.there, l.index)
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
		return l.root.Close()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close lets go of the directory: the contents that are in there cannot be opened any more.
func (l *lent) Close() error {
	if l == nil {
		return nil
	}
	return l.root.Close()
}
