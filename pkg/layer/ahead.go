package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// What is read before its turn: files of at most aheadSize bytes, and aheadCount of them at a time.
const (
	aheadSize  = 64 << 10
	aheadCount = 64
)

// ahead reads the contents of a layer's small files, several at once, for one who takes them in
// the order of the layer: opening a small file takes longer than writing it.
type ahead struct {
	queue   chan *small // in order
	buffers sync.Pool
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// small is a file on its way.
type small struct {
	place int // in the index of the layer
	entry *Entry
	ready chan struct{} // closed when the rest is there
	data  []byte
	sum   Sum
	err   error
}

// isSmall says which entries an ahead gives.
func isSmall(e *Entry) bool { return e.Type == Regular && e.Size > 0 && e.Size <= aheadSize }

// readAhead begins to read the contents of those of the entries that are small. places says for each where in x, the
// index of l, its content is.
func readAhead(ctx context.Context, l Layer, x *Index, entries []Entry, places []int) *ahead {
	a := &ahead{queue: make(chan *small, aheadCount)}
	a.buffers.New = func() any { b := make([]byte, aheadSize+1); return &b }
	ctx, a.cancel = context.WithCancel(ctx)
	tasks := make(chan *small)
	a.workers.Go(func() {
		defer close(tasks)
		for i := range entries {
			if !isSmall(&entries[i]) {
				continue
			}
			s := &small{place: places[i], entry: &entries[i], ready: make(chan struct{})}
			for _, to := range []chan *small{a.queue, tasks} {
				select {
				case to <- s:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	for range runtime.GOMAXPROCS(0) {
		a.workers.Go(func() {
			for s := range tasks {
				s.err = a.read(ctx, l, x, s)
				close(s.ready)
			}
		})
	}
	return a
}

// stop ends what is being read.
func (a *ahead) stop() {
	a.cancel()
	a.workers.Wait()
}

// next gives the next file, to be given back with done.
func (a *ahead) next(ctx context.Context) (*small, error) {
	select {
	case s := <-a.queue:
		select {
		case <-s.ready:
			return s, s.err
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return nil, context.Cause(ctx)
}

// done takes back what next gave.
func (a *ahead) done(s *small) {
	b := s.data[:cap(s.data)]
	a.buffers.Put(&b)
}

// read reads a file to its end, where its source notices that it has changed.
func (a *ahead) read(ctx context.Context, l Layer, x *Index, s *small) error {
	rc, err := OpenAt(ctx, l, x, s.place)
	if err != nil {
		return err
	}
	defer rc.Close()
	buffer := *a.buffers.Get().(*[]byte)
	n, err := io.ReadFull(rc, buffer[:s.entry.Size+1])
	switch {
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF: // those of ReadFull itself
		return err
	case int64(n) != s.entry.Size:
		return fmt.Errorf("content has %d bytes instead of %d", n, s.entry.Size)
	}
	s.data = buffer[:n]
	if s.entry.Sum.IsZero() {
		s.sum = sha256.Sum256(s.data)
	}
	return nil
}
