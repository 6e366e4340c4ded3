package registry

import (
	"context"
	"sync"
)

// memo remembers values that are expensive to get. Of several callers that ask for one key, one
// gets the value and the others wait; failures are not remembered. The zero value is ready.
type memo[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// do returns the value of key, which get computes if nobody has. get runs under its own
// context, life, so that the first caller's giving up does not fail the others.
func (m *memo[K, V]) do(ctx, life context.Context, key K, get func(context.Context) (V, error)) (V, error) {
	m.mu.Lock()
	c, running := m.calls[key]
	if !running {
		c = &call[V]{done: make(chan struct{})}
		if m.calls == nil {
			m.calls = map[K]*call[V]{}
		}
		m.calls[key] = c
		go m.run(life, key, c, get)
	}
	m.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var zero V
		return zero, context.Cause(ctx)
	}
}

func (m *memo[K, V]) run(life context.Context, key K, c *call[V], get func(context.Context) (V, error)) {
	defer close(c.done)
	c.value, c.err = get(life)
	if c.err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.calls, key)
	}
}

// keep remembers a value that was got otherwise.
func (m *memo[K, V]) keep(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls[key] != nil {
		return
	}
	c := &call[V]{done: make(chan struct{}), value: value}
	close(c.done)
	if m.calls == nil {
		m.calls = map[K]*call[V]{}
	}
	m.calls[key] = c
}
