package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Status says what a build would do with a step.
type Status struct {
	// Cached says that the result would be taken from the cache.
	Cached bool
	// Reason says why not, as far as that is known.
	Reason string
}

// Plan tells, by the ids of vertices, which results there are. Nothing is executed; sources are looked
// at as far as keys need it, and layers of images are not fetched. A vertex that the cache has nothing to do with
// is left out.
func (c *Cache) Plan(ctx context.Context, env *op.Env, vertices []*op.Vertex, roots []op.Edge) (map[string]Status, error) {
	p := &planner{executor: &executor{cache: c, next: solve.Ops{Env: env}}, earlier: c.earlierSteps(ctx)}
	s := solve.New(ctx, p)
	defer s.Close()
	c.Warm(ctx, env, s, roots)
	plan := map[string]Status{}
	for _, v := range vertices {
		if !c.caches(v.Op) {
			continue
		}
		_, err := s.Solve(ctx, op.Edge{Vertex: v})
		var missed *missError
		switch {
		case err == nil:
			plan[v.ID] = Status{Cached: true}
		case !errors.As(err, &missed):
			return nil, err
		case missed.vertex == v:
			plan[v.ID] = Status{Reason: missed.reason}
		default:
			plan[v.ID] = Status{Reason: "it depends on " + missed.vertex.Name}
		}
	}
	return plan, nil
}

// missError is how the solver learns that a vertex would be executed.
type missError struct {
	vertex *op.Vertex
	reason string
}

func (e *missError) Error() string { return e.vertex.Name + " would be executed: " + e.reason }

// planner is an executor that executes nothing that can be cached.
type planner struct {
	*executor
	earlier Steps
}

// Execute implements solve.Executor.
func (p *planner) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	if !p.cache.caches(v.Op) {
		return p.next.Execute(ctx, v, in)
	}
	if v.NoCache {
		return nil, &missError{v, "no cached result is wanted"}
	}
	r, err := p.resolveCheaply(ctx, v, in)
	if err != nil {
		return nil, err
	}
	if r.hit == nil {
		return nil, &missError{v, p.reason(v, r)}
	}
	return p.cache.trees(r)
}

// resolveCheaply is resolve, except where the key needs to look into an image, which takes its layers.
func (p *planner) resolveCheaply(ctx context.Context, v *op.Vertex, in []op.Input) (*resolution, error) {
	for _, i := range indirectReads(v) {
		if _, image := v.Inputs[i].Vertex.Op.(*op.Image); !image {
			continue
		}
		r, err := newResolution(v, in)
		if err != nil {
			return nil, err
		}
		return r, p.byAlias(ctx, v, in, r)
	}
	return p.resolve(ctx, v, in)
}

// reason says in what a step differs from the one that was in its place in the last build.
func (p *planner) reason(v *op.Vertex, r *resolution) string {
	at, ok := place(v.Name)
	before, known := p.earlier[at]
	if !ok || !known {
		return "there is no result of it"
	}
	_, was := partsOf(before.Parts)
	labels, is := partsOf(r.parts)
	var changed []string
	for _, label := range labels {
		if was[label] != is[label] {
			changed = append(changed, label)
		}
		delete(was, label)
	}
	changed = append(changed, slices.Sorted(maps.Keys(was))...)
	if len(changed) == 0 {
		return "its result is no longer there, too old, or was made on another result of the step below"
	}
	text := "changed: " + strings.Join(changed, ", ")
	if before.Name != v.Name {
		text += fmt.Sprintf("; it was %s", before.Name)
	}
	return text
}

// partsOf gives the labels in their order, and for each the sums of its parts, of which there may be
// several.
func partsOf(parts []op.Part) (labels []string, sums map[string]string) {
	sums = map[string]string{}
	for _, p := range parts {
		if _, again := sums[p.Label]; !again {
			labels = append(labels, p.Label)
		}
		sums[p.Label] += p.Sum + " "
	}
	return labels, sums
}
