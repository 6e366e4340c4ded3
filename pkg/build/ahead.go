package build

import (
	"context"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// serializing is next, which has the layers of the images of graph serialised as soon as they are made, while later steps
// run. Where the images get other layers than the steps make, it is just next.
func (s *session) serializing(next solve.Executor, graph *frontend.Result) solve.Executor {
	if s.SingleLayer || len(s.IgnorePaths) > 0 {
		return next
	}
	form := s.form(graph)
	return &ahead{
		Executor: next,
		wanted:   layersOf(roots(graph)),
		begin: func(l layer.Layer) {
			if !image.Serialized(l, form) {
				s.writer.Ahead(l, form)
			}
		},
	}
}

// vertexOutput is an output of a vertex.
type vertexOutput struct {
	id     string
	output int
}

// layersOf lists the outputs whose layers are those of roots.
func layersOf(roots []op.Edge) map[vertexOutput]bool {
	all := map[vertexOutput]bool{}
	var visit func(e op.Edge)
	visit = func(e op.Edge) {
		at := vertexOutput{e.Vertex.ID, e.Output}
		if all[at] {
			return
		}
		all[at] = true
		below, err := op.Below(e.Vertex.Op, len(e.Vertex.Inputs))
		if err != nil || e.Output >= len(below) {
			return // the operation says so when it is executed
		}
		for _, i := range below[e.Output] {
			visit(e.Vertex.Inputs[i])
		}
	}
	for _, e := range roots {
		visit(e)
	}
	return all
}

// ahead is an executor that begins something with each layer of the outputs that are wanted.
type ahead struct {
	solve.Executor
	wanted map[vertexOutput]bool
	begin  func(layer.Layer)
}

// Execute implements solve.Executor.
func (a *ahead) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	trees, err := a.Executor.Execute(ctx, v, in)
	if err != nil {
		return trees, err
	}
	for i, t := range trees {
		// The layers below are of outputs that are wanted, too, or of base images.
		if t.Depth() > 0 && a.wanted[vertexOutput{v.ID, i}] {
			a.begin(t.Top())
		}
	}
	return trees, nil
}
