package tree

import (
	"context"
	"sync"
)

// shared is a value that is computed when it is first asked for. Callers that ask at the same
// time share one computation, which goes on as long as any of them waits for it: the
// cancellation of one does not fail the others. A failed computation is not kept.
type shared[T any] struct {
	mu    sync.Mutex
	done  bool
	value T
	call  *call[T] // the one in progress
}

type call[T any] struct {
	finished chan struct{} // closed when value and err are set
	value    T
	err      error
	cancel   context.CancelFunc
	waiting  int // guarded by shared.mu
}

// get returns the value, computed by f if need be. f gets the values of the ctx of the first
// who asked, but not its cancellation.
func (s *shared[T]) get(ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	c, value, done := s.join(ctx, f)
	if done {
		return value, nil
	}
	select {
	case <-c.finished:
		return c.value, c.err
	case <-ctx.Done():
		s.leave(c)
		var zero T
		return zero, ctx.Err()
	}
}

// join returns the value if it is there, else the call to wait for, started if need be.
func (s *shared[T]) join(ctx context.Context, f func(context.Context) (T, error)) (c *call[T], value T, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil, s.value, true
	}
	if s.call == nil {
		run, cancel := context.WithCancel(context.WithoutCancel(ctx))
		s.call = &call[T]{finished: make(chan struct{}), cancel: cancel}
		go s.run(run, s.call, f)
	}
	s.call.waiting++
	return s.call, value, false
}

func (s *shared[T]) run(ctx context.Context, c *call[T], f func(context.Context) (T, error)) {
	value, err := f(ctx)
	c.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.value, c.err = value, err
	if s.call == c {
		s.call = nil
		if err == nil {
			s.done, s.value = true, value
		}
	}
	close(c.finished)
}

// leave gives up waiting. The last to leave stops the computation, and who comes later starts
// another one.
func (s *shared[T]) leave(c *call[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.waiting--; c.waiting > 0 {
		return
	}
	c.cancel()
	if s.call == c {
		s.call = nil
	}
}
