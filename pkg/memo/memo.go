// Package memo remembers values that are expensive to get.
package memo

import (
	"context"
	"sync"
)

// Memo remembers values that are expensive to get. Of several callers that ask for one key, one
// gets the value and the others wait; failures are not remembered. The zero value is ready.
type Memo[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// Do returns the value of key, which get computes if nobody has. get runs under its own
// context, life, so that the first caller's giving up does not fail the others.
func (m *Memo[K, V]) Do(ctx, life context.Context, key K, get func(context.Context) (V, error)) (V, error) {
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

func (m *Memo[K, V]) run(life context.Context, key K, c *call[V], get func(context.Context) (V, error)) {
	defer close(c.done)
	c.value, c.err = get(life)
	if c.err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.calls, key)
	}
}

// Keep remembers a value that was got otherwise.
func (m *Memo[K, V]) Keep(key K, value V) {
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

// Clear forgets all values. Whoever waits for one still gets it.
func (m *Memo[K, V]) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = nil
}
