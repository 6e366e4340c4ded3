package cache

import (
	"context"
	"slices"

	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Caching returns an executor that takes results from records where it can, and has next execute the
// rest and keeps its results. It does so for one solver.
func (c *Cache) Caching(next solve.Executor) solve.Executor {
	return &executor{cache: c, next: next}
}

type executor struct {
	cache    *Cache
	next     solve.Executor
	resolved memo.Memo[string, *resolution] // by id of the vertex
}

// resolution is what is known of a vertex before it is executed.
type resolution struct {
	key op.Key
	// alias is the key by which a record can be found without looking at the content of trees
	// that the operation only reads; zero if there are none.
	alias op.Key
	// byAlias says that it was.
	byAlias bool
	// parts are those of the alias if there is one, else of the key.
	parts []op.Part
	hit   *found // nil for a miss

	// bases are the trees that the outputs are made on, reads those that count by key in the
	// alias.
	bases, reads []*tree.Tree
}

// newResolution is what is known of a vertex before any key is.
func newResolution(v *op.Vertex, in []op.Input) (*resolution, error) {
	bases, err := op.Bases(v.Op, in)
	if err != nil {
		return nil, err
	}
	r := &resolution{bases: bases}
	for _, i := range indirectReads(v) {
		r.reads = append(r.reads, in[i].Tree)
	}
	return r, nil
}

// Key implements solve.Executor. Looking for the record comes first: it may know the key.
func (e *executor) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	if !e.cache.caches(v.Op) {
		return e.next.Key(ctx, v, in)
	}
	r, err := e.resolve(ctx, v, in)
	if err != nil {
		return op.Key{}, err
	}
	return r.key, nil
}

// Execute implements solve.Executor.
func (e *executor) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	c := e.cache
	if !c.caches(v.Op) {
		if merged(v, in) {
			solve.ReportFrom(ctx).Hit()
		}
		return e.next.Execute(ctx, v, in)
	}
	r, err := e.resolve(ctx, v, in)
	if err != nil {
		return nil, err
	}
	c.saves.steps.add(v, r)
	if r.hit != nil {
		trees, err := c.trees(r)
		if err != nil {
			return nil, err
		}
		solve.ReportFrom(ctx).Hit()
		c.saves.found(v, r, trees)
		return trees, nil
	}
	trees, err := e.next.Execute(ctx, v, in)
	if err == nil {
		c.saves.executed(v, r, trees)
	}
	return trees, err
}

// merged reports whether the vertex only stacks what was found: COPY --link is a copy and a merge, and
// the user sees one step.
func merged(v *op.Vertex, in []op.Input) bool {
	if _, isMerge := v.Op.(*op.Merge); !isMerge || len(in) < 2 {
		return false
	}
	return !slices.ContainsFunc(in[1:], func(i op.Input) bool {
		_, stored := i.Tree.Top().(*storedLayer)
		return !stored
	})
}

// trees are the outputs that the record found stands for.
func (c *Cache) trees(r *resolution) ([]*tree.Tree, error) {
	trees := make([]*tree.Tree, len(r.bases))
	for i := range r.hit.record.Outputs {
		l, err := newStoredLayer(r.hit, &r.hit.record.Outputs[i], c.State)
		if err != nil {
			return nil, r.hit.damaged(err)
		}
		trees[i] = r.bases[i].Push(l)
	}
	return trees, nil
}

func (e *executor) resolve(ctx context.Context, v *op.Vertex, in []op.Input) (*resolution, error) {
	return e.resolved.Do(ctx, e.cache.ctx, v.ID, func(ctx context.Context) (*resolution, error) {
		return e.find(ctx, v, in)
	})
}

// find computes the keys of a vertex and looks for a record that holds.
func (e *executor) find(ctx context.Context, v *op.Vertex, in []op.Input) (*resolution, error) {
	r, err := newResolution(v, in)
	if err != nil {
		return nil, err
	}
	if err := e.byAlias(ctx, v, in, r); err != nil || r.hit != nil {
		return r, err
	}
	trace := &op.Trace{}
	if r.key, err = e.next.Key(op.WithTrace(ctx, trace), v, in); err != nil {
		return nil, err
	}
	if r.alias == (op.Key{}) {
		r.parts = trace.Parts
	}
	if v.NoCache {
		return r, nil
	}
	r.hit, err = e.cache.match(ctx, r.key, Identity{}, r.bases)
	return r, err
}

// byAlias looks for a record under the alias of a vertex, if it has one.
func (e *executor) byAlias(ctx context.Context, v *op.Vertex, in []op.Input, r *resolution) (err error) {
	if len(r.reads) == 0 {
		return nil
	}
	trace := &op.Trace{}
	if r.alias, err = e.next.Key(op.WithTrace(ctx, trace), v, byKey(in, indirectReads(v))); err != nil {
		return err
	}
	r.parts = trace.Parts
	if v.NoCache || !known(r.reads...) {
		return nil
	}
	identity, err := e.cache.ids.of(ctx, r.reads...)
	if err != nil {
		return err
	}
	if r.hit, err = e.cache.match(ctx, r.alias, identity, r.bases); err != nil || r.hit == nil {
		return err
	}
	r.key, r.byAlias = r.hit.record.Key, true
	return nil
}

// match looks for a record under a key that holds for these trees.
func (c *Cache) match(ctx context.Context, k op.Key, reads Identity, bases []*tree.Tree) (*found, error) {
	all, err := c.lookup(ctx, k)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if f.record.Reads != reads || (reads == (Identity{}) && f.record.Key != k) {
			continue
		}
		fits, err := c.fits(ctx, f.record, bases)
		if err != nil {
			return nil, err
		}
		if fits {
			return f, nil
		}
	}
	return nil, nil
}

func (c *Cache) fits(ctx context.Context, r *Record, bases []*tree.Tree) (bool, error) {
	if len(r.Outputs) != len(bases) {
		return false, nil
	}
	for i, b := range bases {
		id, err := c.ids.of(ctx, b)
		if err != nil || id != r.Outputs[i].Base {
			return false, err
		}
	}
	return true, nil
}

// indirectReads lists the inputs that the vertex's operation only reads and whose content costs
// something to know: all but directories of this machine.
func indirectReads(v *op.Vertex) []int {
	return slices.DeleteFunc(op.Reads(v.Op, len(v.Inputs)), func(i int) bool {
		_, local := v.Inputs[i].Vertex.Op.(*op.Local)
		return local
	})
}

// byKey returns in with the inputs at some places to be counted by their keys.
func byKey(in []op.Input, at []int) []op.Input {
	out := slices.Clone(in)
	for _, i := range at {
		out[i].ByKey = true
	}
	return out
}
