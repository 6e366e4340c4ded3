package provenance

import (
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/pb"
)

// Definition is a build graph in LLB.
type Definition struct{ LLB *pb.Definition }

// result is all that BuildKit's own code wants to know of a result: the graph behind it.
func (d *Definition) result() solver.ResultProxy { return &graphOnly{definition: d.LLB} }

// graphOnly is a result of which nothing but the graph may be asked.
type graphOnly struct {
	solver.ResultProxy
	definition *pb.Definition
}

// Definition implements solver.ResultProxy.
func (g *graphOnly) Definition() *pb.Definition { return g.definition }
