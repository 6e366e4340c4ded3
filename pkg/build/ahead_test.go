package build

import (
	"context"
	"slices"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// pushing is an executor that gives each vertex one new layer on its first input.
type pushing struct {
	solve.Executor
	made map[string]layer.Layer
}

func (p *pushing) Execute(_ context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	l := layer.Empty()
	p.made[v.ID] = l
	if len(in) == 0 {
		return []*tree.Tree{tree.New(l)}, nil
	}
	return []*tree.Tree{in[0].Tree.Push(l)}, nil
}

// TestAhead has a build stage of which a file is copied into the image: only the layers of the image are begun with.
func TestAhead(t *testing.T) {
	run := func(id string, on *op.Vertex) *op.Vertex {
		return &op.Vertex{ID: id, Inputs: []op.Edge{{Vertex: on}}, Op: &op.Exec{Mounts: []op.ExecMount{{Type: isolation.MountBind, Dest: "/"}}}}
	}
	base := &op.Vertex{ID: "base", Op: &op.Image{}}
	stage := run("stage", base)
	first := run("first", base)
	copied := &op.Vertex{
		ID: "copied", Inputs: []op.Edge{{Vertex: first}, {Vertex: stage}},
		Op: &op.File{Actions: []op.FileAction{{Input: 0, Secondary: 1, Copy: &op.Copy{}}}},
	}
	last := run("last", copied)

	bottom := &pushing{made: map[string]layer.Layer{}}
	var begun []layer.Layer
	exec := &ahead{
		Executor: bottom, wanted: layersOf([]op.Edge{{Vertex: last}}),
		begin: func(l layer.Layer) { begun = append(begun, l) },
	}
	trees := map[*op.Vertex]*tree.Tree{}
	for _, v := range op.Vertices(op.Edge{Vertex: last}) {
		var in []op.Input
		for _, e := range v.Inputs {
			in = append(in, op.Input{Tree: trees[e.Vertex]})
		}
		got, err := exec.Execute(t.Context(), v, in)
		if err != nil {
			t.Fatal(err)
		}
		trees[v] = got[0]
	}
	want := []layer.Layer{bottom.made["base"], bottom.made["first"], bottom.made["copied"], bottom.made["last"]}
	if len(begun) != len(want) {
		t.Errorf("%d layers were begun with, want %d", len(begun), len(want))
	}
	for _, l := range want {
		if !slices.Contains(begun, l) {
			t.Errorf("a layer of the image is missing")
		}
	}
}
