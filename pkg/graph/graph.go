// Package graph shows what a Dockerfile was turned into: the build graph as text, as JSON and in the
// language of Graphviz. It only describes; nothing is built.
package graph

import (
	"reflect"
	"strings"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/op"
)

// Version is the version of the JSON form. It changes when a field changes its meaning or goes away, not
// when one is added.
const Version = 1

// Graph is a build graph in plain values. docs/lint-and-plan.md describes its JSON form.
type Graph struct {
	Version int     `json:"version"`
	Images  []Image `json:"images"`
	// Steps has every step after all of those it needs; the step with ID n is Steps[n-1].
	Steps []Step `json:"steps"`
}

// Image is one image that the build makes.
type Image struct {
	Platform string `json:"platform"`
	// Step is the ID of the step whose result is the image's root filesystem; 0 for
	// an image without layers.
	Step int `json:"step"`
}

// Step is one operation. Which of the pointers is set depends on Kind; kinds without one are described by
// their name alone.
type Step struct {
	ID int `json:"id"` // from 1
	// Kind is the type of the operation: image, local, git, http, file, exec, merge.
	Kind string `json:"kind"`
	// Name is what a build shows: "[build 2/6] WORKDIR /src".
	Name string `json:"name"`
	// Platform is what an image is taken for or a command runs for; "" where
	// the operation does not depend on it.
	Platform string `json:"platform,omitempty"`
	// Inputs are the IDs of the steps whose results this one needs, first the one whose filesystem it
	// goes on from, if any.
	Inputs []int `json:"inputs"`
	// Internal steps load what the build works with, as the build context.
	Internal bool        `json:"internal,omitempty"`
	NoCache  bool        `json:"noCache,omitempty"`
	Source   *Source     `json:"source,omitempty"`
	Image    *Base       `json:"image,omitempty"`
	Local    *Local      `json:"local,omitempty"`
	HTTP     *Download   `json:"http,omitempty"`
	Git      *Repository `json:"git,omitempty"`
	File     []Action    `json:"file,omitempty"`
	Exec     *Command    `json:"exec,omitempty"`
	// Cache is what the caches that were asked have of a step; nil if none was, or the step is none
	// whose result is kept.
	Cache *CacheStatus `json:"cache,omitempty"`

	based bool // whether the step goes on from the first of Inputs
}

// CacheStatus says whether a build would take a step's result from the cache.
type CacheStatus struct {
	Cached bool `json:"cached"`
	// Reason says why not, as far as that is known.
	Reason string `json:"reason,omitempty"`
}

// Source is the place of the Dockerfile that a step comes from.
type Source struct {
	File  string `json:"file"`
	Start int    `json:"start"` // first line, from 1
	End   int    `json:"end"`   // last line, inclusive
}

// New describes the result of the frontend, and what the cache has of it by the ids of vertices, nil if
// none was asked. The same result gives the same graph.
func New(r *frontend.Result, cached map[string]cache.Status) *Graph {
	g := &Graph{Version: Version, Images: []Image{}, Steps: []Step{}}
	ids := map[*op.Vertex]int{}
	for _, p := range r.Platforms {
		img := Image{Platform: p.ID}
		if p.Root != nil {
			img.Step = g.add(p.Root.Vertex, ids)
		}
		g.Images = append(g.Images, img)
	}
	for v, id := range ids {
		if status, ok := cached[v.ID]; ok {
			g.Steps[id-1].Cache = &CacheStatus{status.Cached, status.Reason}
		}
	}
	return g
}

// add adds v after everything it needs, and returns its ID.
func (g *Graph) add(v *op.Vertex, ids map[*op.Vertex]int) int {
	if id, ok := ids[v]; ok {
		return id
	}
	s := Step{
		Kind: kind(v.Op), Name: v.Name, Inputs: []int{},
		Internal: v.Internal, NoCache: v.NoCache, based: base(v.Op) >= 0,
	}
	if len(v.Locations) > 0 {
		l := v.Locations[0]
		s.Source = &Source{File: l.Filename, Start: l.Start, End: l.End}
	}
	for _, i := range inputOrder(v) {
		s.Inputs = append(s.Inputs, g.add(v.Inputs[i].Vertex, ids))
	}
	s.describe(v, func(input int) int {
		if input < 0 || input >= len(v.Inputs) {
			return 0
		}
		return ids[v.Inputs[input].Vertex]
	})
	s.ID = len(g.Steps) + 1
	g.Steps = append(g.Steps, s)
	ids[v] = s.ID
	return s.ID
}

// kind is the name of the operation's type.
func kind(o op.Op) string { return strings.ToLower(reflect.Indirect(reflect.ValueOf(o)).Type().Name()) }

// inputOrder gives the indexes of a vertex's inputs, without repetitions: the one that it goes on from
// first, the others in the order of the graph.
func inputOrder(v *op.Vertex) []int {
	order := []int{}
	seen := map[*op.Vertex]bool{}
	add := func(i int) {
		if i >= 0 && i < len(v.Inputs) && !seen[v.Inputs[i].Vertex] {
			seen[v.Inputs[i].Vertex] = true
			order = append(order, i)
		}
	}
	add(base(v.Op))
	for i := range v.Inputs {
		add(i)
	}
	return order
}

// base is the index of the input whose filesystem an operation changes, -1 for none.
func base(o op.Op) int {
	switch o := o.(type) {
	case *op.Exec:
		for i := range o.Mounts {
			if o.Mounts[i].Dest == "/" {
				return o.Mounts[i].Input
			}
		}
	case *op.File:
		if len(o.Actions) > 0 {
			return o.Actions[0].Input
		}
	case *op.Merge:
		return 0
	}
	return -1
}
