package frontend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
)

// graph is the build graph as far as it has been decoded. The frontend solves several
// definitions in one build, with common parts; a vertex that is in several of them is
// decoded once, so that it is one vertex for the whole build.
type graph struct {
	// decide, if set, may refuse or replace a source before it is decoded.
	decide func(context.Context, *pb.Op) error

	mu       sync.Mutex
	vertices map[digest.Digest]*node
}

// node is a decoded vertex and the number of its outputs.
type node struct {
	vertex  *op.Vertex
	outputs int
}

func newGraph() *graph {
	return &graph{vertices: map[digest.Digest]*node{}}
}

// decode adds a definition to the graph and returns the edge that it stands for: nil, if it has
// no operations and so stands for an empty root filesystem.
//
// A definition is a list of serialized operations, inputs before those who use them, which
// name their inputs by digest. The last has no operation of its own; its input is the result.
func (g *graph) decode(ctx context.Context, def *pb.Definition) (*op.Edge, error) {
	if len(def.GetDef()) == 0 {
		return nil, nil
	}
	ops, err := unmarshalOps(def)
	if err != nil {
		return nil, fmt.Errorf("build graph: %w", err)
	}
	last := ops[len(ops)-1]
	if last.pb.GetOp() != nil || len(last.pb.GetInputs()) != 1 {
		return nil, errors.New("build graph: it does not end with one result")
	}
	if err := last.check(); err != nil {
		return nil, err
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range ops[:len(ops)-1] {
		if _, ok := g.vertices[o.dgst]; ok {
			continue
		}
		n, err := g.decodeOp(ctx, o)
		if err != nil {
			return nil, op.Locate(err, o.locations)
		}
		g.vertices[o.dgst] = n
	}
	edge, err := g.edge(last.pb.GetInputs()[0])
	if err != nil {
		return nil, fmt.Errorf("build graph: result: %w", err)
	}
	return &edge, nil
}

// edge finds what an input refers to, among the operations before it.
func (g *graph) edge(in *pb.Input) (op.Edge, error) {
	n, ok := g.vertices[digest.Digest(in.GetDigest())]
	if !ok {
		return op.Edge{}, fmt.Errorf("there is no operation %q before", in.GetDigest())
	}
	if i := in.GetIndex(); i < 0 || i >= int64(n.outputs) {
		return op.Edge{}, fmt.Errorf("%q has no output %d", n.vertex.Name, i)
	}
	return op.Edge{Vertex: n.vertex, Output: int(in.GetIndex())}, nil
}

// decodeOp decodes one operation, whose inputs have been decoded before.
func (g *graph) decodeOp(ctx context.Context, o *rawOp) (*node, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if g.decide != nil {
		if err := g.decide(ctx, o.pb); err != nil {
			return nil, err
		}
	}
	v := o.vertex()
	for i, in := range o.pb.GetInputs() {
		edge, err := g.edge(in)
		if err != nil {
			return nil, fmt.Errorf("build graph: input %d: %w", i, err)
		}
		v.Inputs = append(v.Inputs, edge)
	}
	n := &node{vertex: v, outputs: 1}
	inputs := len(v.Inputs)
	var err error
	switch kind := o.pb.GetOp().(type) {
	case *pb.Op_Source:
		v.Op, err = decodeSource(o, inputs)
	case *pb.Op_File:
		v.Op, err = decodeFile(kind.File, inputs)
	case *pb.Op_Merge:
		v.Op, err = decodeMerge(kind.Merge, inputs)
	case *pb.Op_Exec:
		v.Op, n.outputs, err = decodeExec(o, kind.Exec, inputs)
	default:
		err = &UnsupportedError{What: fmt.Sprintf("a build operation of kind %s", opKind(o.pb))}
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// opKind is the name of the operation's field in LLB.
func opKind(o *pb.Op) string {
	m := o.ProtoReflect()
	if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("op")); f != nil {
		return string(f.Name())
	}
	return "unknown"
}

// decodeMerge checks that a merge takes each of its inputs once, in order. That is all that
// COPY --link makes, and what [op.Merge] means.
func decodeMerge(m *pb.MergeOp, inputs int) (op.Op, error) {
	if len(m.GetInputs()) != inputs {
		return nil, fmt.Errorf("build graph: merge of %d inputs has %d", len(m.GetInputs()), inputs)
	}
	for i, in := range m.GetInputs() {
		if in.GetInput() != int64(i) {
			return nil, &UnsupportedError{What: "a merge that takes its inputs in another order"}
		}
	}
	return &op.Merge{}, nil
}

// rawOp is one operation of a definition before it is decoded.
type rawOp struct {
	dgst      digest.Digest
	pb        *pb.Op
	meta      *pb.OpMetadata
	locations []op.Location
}

func unmarshalOps(def *pb.Definition) ([]*rawOp, error) {
	locations, err := sourceLocations(def.GetSource())
	if err != nil {
		return nil, err
	}
	ops := make([]*rawOp, len(def.GetDef()))
	for i, raw := range def.GetDef() {
		o := &rawOp{dgst: digest.FromBytes(raw), pb: new(pb.Op)}
		if err := o.pb.UnmarshalVT(raw); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		o.meta = def.GetMetadata()[string(o.dgst)]
		o.locations = locations[string(o.dgst)]
		ops[i] = o
	}
	inheritLocations(ops)
	return ops, nil
}

// inheritLocations gives operations that have no place of their own, such as the download of
// an ADD or the loading of the build context, the place of the first that uses them.
func inheritLocations(ops []*rawOp) {
	placeless := map[string]*rawOp{}
	for _, o := range ops {
		if len(o.locations) == 0 {
			placeless[string(o.dgst)] = o
		}
	}
	// Backwards, so that users have their places first and the first user has the
	// last word.
	for _, user := range slices.Backward(ops) {
		for _, in := range user.pb.GetInputs() {
			if used := placeless[in.GetDigest()]; used != nil && len(user.locations) > 0 {
				used.locations = user.locations
			}
		}
	}
}
