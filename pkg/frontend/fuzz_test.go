package frontend

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// Whatever the bytes are: no panic, and a graph whose references all hold.
func FuzzDecode(f *testing.F) {
	for _, ops := range [][]*pb.Op{
		{localOp()},
		{localOp(), copyOp(nothing)},
		{localOp(), execOp(func(*pb.ExecOp) {})},
		{localOp(), mountOp(&pb.Mount{Dest: "/s", Input: -1, MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "s"}})},
		{localOp(), {Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{}}}}}},
	} {
		def := definition(f, ops...)
		def.Source = &pb.Source{Infos: []*pb.SourceInfo{{Filename: "Dockerfile", Data: []byte("FROM x")}}}
		raw, err := def.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		def := new(pb.Definition)
		if err := def.Unmarshal(raw); err != nil {
			return
		}
		edge, err := newGraph().decode(t.Context(), def)
		if err != nil || edge == nil {
			return
		}
		seen := map[*op.Vertex]bool{}
		var check func(e op.Edge)
		check = func(e op.Edge) {
			if e.Vertex == nil || e.Vertex.Op == nil || e.Output < 0 {
				t.Fatalf("edge to nothing: %+v", e)
			}
			if seen[e.Vertex] {
				return
			}
			seen[e.Vertex] = true
			checkIndexes(t, e.Vertex)
			for _, in := range e.Vertex.Inputs {
				check(in)
			}
		}
		check(*edge)
	})
}

func checkIndexes(t *testing.T, v *op.Vertex) {
	t.Helper()
	within := func(i, n int) {
		if i < -1 || i >= n {
			t.Fatalf("%s refers to input %d of %d", v.Name, i, n)
		}
	}
	switch o := v.Op.(type) {
	case *op.Exec:
		for _, m := range o.Mounts {
			within(m.Input, len(v.Inputs))
		}
	case *op.File:
		for i, a := range o.Actions {
			within(a.Input, len(v.Inputs)+i)
			within(a.Secondary, len(v.Inputs)+i)
		}
	}
}
