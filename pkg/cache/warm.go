package cache

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
)

// Warm asks for the records of all vertices that the edges need, at once, as far as their keys can be
// computed from keys and from directories of this machine. It changes nothing but how long later
// lookups take, and returns when all have been asked for.
func (c *Cache) Warm(ctx context.Context, env *op.Env, s *solve.Solver, edges []op.Edge) {
	if len(c.from) == 0 {
		return
	}
	w := &warmer{cache: c, env: env, solver: s}
	done := make(chan struct{})
	for _, e := range edges {
		go func() {
			// Whatever fails here fails, or is told of, when the vertex is executed.
			_, _ = w.key(ctx, e)
			done <- struct{}{}
		}()
	}
	for range edges {
		<-done
	}
}

type warmer struct {
	cache  *Cache
	env    *op.Env
	solver *solve.Solver
	keys   memo.Memo[string, op.Key]
}

// errUnknown is why a key is not computed: it depends on what is yet to be executed.
var errUnknown = errors.New("the key is not known yet")

func (w *warmer) key(ctx context.Context, e op.Edge) (op.Key, error) {
	k, err := w.keys.Do(ctx, ctx, e.Vertex.ID, func(ctx context.Context) (op.Key, error) {
		return w.vertex(ctx, e.Vertex)
	})
	if err != nil || e.Output == 0 {
		return k, err
	}
	return op.OutputKey(k, e.Output), nil
}

func (w *warmer) vertex(ctx context.Context, v *op.Vertex) (op.Key, error) {
	in, err := w.inputs(ctx, v)
	if err != nil {
		return op.Key{}, err
	}
	k, err := v.Op.Key(ctx, w.env, in)
	if err != nil || !w.cache.caches(v.Op) || v.NoCache {
		return k, err
	}
	if len(indirectReads(v)) == 0 {
		go func() { _, _ = w.cache.lookup(ctx, k) }()
		return k, nil
	}
	records, err := w.cache.lookup(ctx, k)
	if err != nil {
		return op.Key{}, err
	}
	if len(records) == 0 {
		return op.Key{}, errUnknown
	}
	return records[0].record.Key, nil
}

// inputs starts with all inputs at once.
func (w *warmer) inputs(ctx context.Context, v *op.Vertex) ([]op.Input, error) {
	in := make([]op.Input, len(v.Inputs))
	errs := make(chan error, len(v.Inputs))
	for i, e := range v.Inputs {
		key := func(ctx context.Context) (op.Key, error) { return w.key(ctx, e) }
		if _, local := e.Vertex.Op.(*op.Local); local {
			go func() {
				t, err := w.solver.Solve(ctx, e)
				in[i] = op.Input{Tree: t, Key: key}
				errs <- err
			}()
			continue
		}
		in[i] = op.Input{Key: key, ByKey: true}
		go func() {
			_, err := key(ctx)
			errs <- err
		}()
	}
	var first error
	for range v.Inputs {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return in, first
}
