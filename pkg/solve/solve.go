// Package solve runs the build graph: what is asked for and nothing else, in parallel, each
// vertex once.
package solve

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Executor turns the results of a vertex's inputs into its own. Decorators add caching,
// progress and error positions; [Ops] at the bottom runs the operation. Implementations
// are safe for concurrent use.
type Executor interface {
	// Key is the cache key of the vertex; see op.Op.
	Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error)
	// Execute returns one tree for each output of the vertex.
	Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error)
}

// Solver gives the trees of a build graph's edges. A vertex is executed when it is first
// asked for, after all of its inputs, which are executed in parallel; everyone who asks
// for it shares the one result, or the one error.
type Solver struct {
	exec   Executor
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	nodes  map[string]*node
	closed bool
}

// ErrClosed is the cause of cancellation after Close.
var ErrClosed = fmt.Errorf("the build has ended")

// New starts a solver. Work belongs to the solver rather than to the caller that first asks for
// it: it ends with ctx or with Close.
func New(ctx context.Context, exec Executor) *Solver {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Solver{exec: exec, ctx: ctx, cancel: cancel, nodes: map[string]*node{}}
}

// Close cancels what still runs and waits for its end.
func (s *Solver) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(ErrClosed)
	s.wg.Wait()
}

// Solve returns the tree of one output of a vertex. When ctx ends, the caller stops waiting;
// the work goes on for others.
func (s *Solver) Solve(ctx context.Context, e op.Edge) (*tree.Tree, error) {
	n, err := s.node(e.Vertex)
	if err != nil {
		return nil, err
	}
	return n.output(ctx, e.Output)
}

// node is the state of one vertex.
type node struct {
	vertex *op.Vertex
	done   chan struct{} // closed when in, trees and err are set
	in     []op.Input
	trees  []*tree.Tree
	err    error
	key    func(context.Context) (op.Key, error)
}

// node returns the state of v, starting its execution if nobody has yet.
func (s *Solver) node(v *op.Vertex) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.nodes[v.ID]; ok {
		return n, nil
	}
	if s.closed {
		return nil, ErrClosed
	}
	n := &node{vertex: v, done: make(chan struct{})}
	n.key = once(func() (op.Key, error) { return s.exec.Key(s.ctx, v, n.in) })
	s.nodes[v.ID] = n
	s.wg.Go(func() {
		defer close(n.done)
		n.in, n.err = s.inputs(v)
		if n.err == nil {
			n.trees, n.err = s.exec.Execute(s.ctx, v, n.in)
		}
	})
	return n, nil
}

// inputs waits for the inputs of v, all started at once. The first to fail decides, so that an
// error shows up while slower siblings still run.
func (s *Solver) inputs(v *op.Vertex) ([]op.Input, error) {
	type result struct {
		i   int
		in  op.Input
		err error
	}
	results := make(chan result, len(v.Inputs))
	for i, e := range v.Inputs {
		n, err := s.node(e.Vertex)
		if err != nil {
			return nil, err
		}
		s.wg.Go(func() {
			t, err := n.output(s.ctx, e.Output)
			results <- result{i, op.Input{Tree: t, Name: e.Vertex.Ref(), Key: n.outputKey(e.Output)}, err}
		})
	}
	in := make([]op.Input, len(v.Inputs))
	for range v.Inputs {
		r := <-results
		if r.err != nil {
			return nil, r.err
		}
		in[r.i] = r.in
	}
	return in, nil
}

// output waits for the node's result.
func (n *node) output(ctx context.Context, i int) (*tree.Tree, error) {
	select {
	case <-n.done:
	case <-ctx.Done():
		// Both may be ready: a result is better than no result.
		select {
		case <-n.done:
		default:
			return nil, context.Cause(ctx)
		}
	}
	if n.err != nil {
		return nil, n.err
	}
	if i < 0 || i >= len(n.trees) {
		return nil, fmt.Errorf("%s has no output %d", n.vertex.Name, i)
	}
	return n.trees[i], nil
}

// outputKey gives the key of one output: outputs beyond the first are told apart.
func (n *node) outputKey(i int) func(context.Context) (op.Key, error) {
	return func(ctx context.Context) (op.Key, error) {
		k, err := n.key(ctx)
		if err != nil || i == 0 {
			return k, err
		}
		return op.OutputKey(k, i), nil
	}
}

// once makes f run at most once, whoever asks; callers whose context ends stop waiting.
func once(f func() (op.Key, error)) func(context.Context) (op.Key, error) {
	var (
		start sync.Once
		done  = make(chan struct{})
		key   op.Key
		err   error
	)
	return func(ctx context.Context) (op.Key, error) {
		start.Do(func() {
			go func() {
				defer close(done)
				key, err = f()
			}()
		})
		select {
		case <-done:
			return key, err
		case <-ctx.Done():
			return op.Key{}, context.Cause(ctx)
		}
	}
}
