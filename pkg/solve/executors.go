package solve

import (
	"context"
	"sync"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Ops is the executor at the bottom: it runs the vertex's own operation.
type Ops struct {
	Env *op.Env
}

// Key implements Executor.
func (o Ops) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	return v.Op.Key(ctx, o.Env, in)
}

// Execute implements Executor.
func (o Ops) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	env := o.Env
	if r := ReportFrom(ctx); r != nil {
		env = env.WithStreams(r.Stdout, r.Stderr)
	}
	return v.Op.Run(ctx, env, in)
}

// Locating returns an executor that adds the Dockerfile's lines to the errors of next.
func Locating(next Executor) Executor { return locating{next} }

type locating struct{ next Executor }

func (l locating) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	k, err := l.next.Key(ctx, v, in)
	return k, op.Locate(err, v.Locations)
}

func (l locating) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	trees, err := l.next.Execute(ctx, v, in)
	return trees, op.Locate(err, v.Locations)
}

// Memoizing returns an executor that executes vertices of equal key once in this process:
// stages that repeat each other's steps share the work. Vertices that ask for no cache are
// executed each for themselves.
func Memoizing(next Executor) Executor {
	return &memoizing{next: next, results: map[op.Key]*memo{}}
}

type memoizing struct {
	next    Executor
	mu      sync.Mutex
	results map[op.Key]*memo
}

type memo struct {
	done  chan struct{}
	trees []*tree.Tree
	err   error
}

func (m *memoizing) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	return m.next.Key(ctx, v, in)
}

func (m *memoizing) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	if v.NoCache || !op.Cacheable(v.Op) {
		return m.next.Execute(ctx, v, in)
	}
	key, err := m.Key(ctx, v, in)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	r, found := m.results[key]
	if !found {
		r = &memo{done: make(chan struct{})}
		m.results[key] = r
	}
	m.mu.Unlock()
	if found {
		select {
		case <-r.done:
			ReportFrom(ctx).Hit()
			return r.trees, r.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer close(r.done)
	r.trees, r.err = m.next.Execute(ctx, v, in)
	return r.trees, r.err
}
