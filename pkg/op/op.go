// Package op holds the operations that a Dockerfile can turn into, one file each: what
// they are, their cache key, and how they are executed. Operations take trees and give trees.
package op

import (
	"context"
	"strings"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Op is one operation of the build graph. Ops are immutable values.
//
// The closed set: [Image], [Local], [HTTP], [Git], [GitObjects], [File], [Exec], [Merge].
type Op interface {
	// Key is the cache key, by the rules of docs/cache.md: what the operation
	// does, for which platform, to which inputs. It may read the inputs' trees, never
	// run anything.
	Key(ctx context.Context, env *Env, in []Input) (Key, error)

	// Run executes the operation and returns its outputs; all ops but Exec have
	// exactly one. Run must not modify anything that in gives access to.
	Run(ctx context.Context, env *Env, in []Input) ([]*tree.Tree, error)
}

// Key identifies the result of an operation across builds and machines.
type Key = layer.Sum

// Input is the result of another operation that an operation builds upon.
type Input struct {
	Tree *tree.Tree
	// Name is one word that tells the user which it is, as Vertex.Ref; it may be empty.
	Name string
	// Key is the key of the input's own operation, computed when first asked for.
	Key func(ctx context.Context) (Key, error)
	// ByKey has the input count in keys by its own key where otherwise its content does, which
	// saves looking at it. Such a key says less: the same content under another key
	// counts as something else.
	ByKey bool
}

// Vertex is an operation in the graph.
type Vertex struct {
	// ID identifies the vertex within one build and says nothing beyond it.
	ID     string
	Op     Op
	Inputs []Edge
	// Name is what the user sees: "[build 2/6] WORKDIR /src".
	Name string
	// ProgressGroup joins the vertices of one displayed step; nil for none.
	ProgressGroup *ProgressGroup
	// Internal vertices belong to the frontend's own work (loading the
	// Dockerfile); display can leave them out.
	Internal bool
	// NoCache asks that no cached result is used.
	NoCache bool
	// Locations are the places of the Dockerfile that asked for this operation.
	Locations []Location
}

// Ref is one word for what the vertex makes: the name of a local source, the stage that it belongs to, or
// what its name ends with.
func (v *Vertex) Ref() string {
	if l, ok := v.Op.(*Local); ok {
		return l.Name
	}
	if step, _, ok := strings.Cut(strings.TrimPrefix(v.Name, "["), "] "); ok {
		if words := strings.Fields(step); len(words) > 1 {
			return words[len(words)-2] // "linux/arm64 build 2/6"
		}
	}
	if words := strings.Fields(v.Name); len(words) > 0 {
		return words[len(words)-1]
	}
	return ""
}

// Edge names one output of a vertex.
type Edge struct {
	Vertex *Vertex
	Output int
}

// Vertices lists the vertices that edges are of, and all that those are built upon, each once and inputs first.
func Vertices(edges ...Edge) []*Vertex {
	var all []*Vertex
	seen := map[*Vertex]bool{}
	var visit func(v *Vertex)
	visit = func(v *Vertex) {
		if v == nil || seen[v] {
			return
		}
		seen[v] = true
		for _, in := range v.Inputs {
			visit(in.Vertex)
		}
		all = append(all, v)
	}
	for _, e := range edges {
		visit(e.Vertex)
	}
	return all
}

// ProgressGroup is a group of vertices in progress displays.
type ProgressGroup struct {
	ID, Name string
	Weak     bool
}
