// Package tree merges a stack of layers into one root filesystem, purely in user space:
// lookup, symbolic links, globbing, users and content digests need no root, no mount and no
// unpacking.
package tree

import (
	"context"
	"slices"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Tree is an immutable, ordered stack of layers, lowest first. Stacking costs nothing: a
// layer's index is asked for only when [Tree.View] is. The nil tree is the empty root
// filesystem, which Dockerfiles call scratch.
type Tree struct {
	parent *Tree
	layer  layer.Layer
	depth  int
	view   lazyView
}

// New stacks layers, lowest first. With none it is nil, the empty tree.
func New(layers ...layer.Layer) *Tree {
	var t *Tree
	for _, l := range layers {
		t = t.Push(l)
	}
	return t
}

// Push returns the tree with l on top. t itself does not change.
func (t *Tree) Push(l layer.Layer) *Tree {
	return &Tree{parent: t, layer: l, depth: t.Depth() + 1}
}

// Depth is the number of layers.
func (t *Tree) Depth() int {
	if t == nil {
		return 0
	}
	return t.depth
}

// Parent is the tree without its topmost layer; nil when there is nothing below.
func (t *Tree) Parent() *Tree {
	if t == nil {
		return nil
	}
	return t.parent
}

// Top is the topmost layer, nil in the empty tree.
func (t *Tree) Top() layer.Layer {
	if t == nil {
		return nil
	}
	return t.layer
}

// Layers returns the stack, lowest first, in a slice of the caller's own.
func (t *Tree) Layers() []layer.Layer {
	ls := make([]layer.Layer, 0, t.Depth())
	for ; t != nil; t = t.parent {
		ls = append(ls, t.layer)
	}
	slices.Reverse(ls)
	return ls
}

// View returns the merged filesystem. The indexes of all layers are asked for at once, so
// that downloads overlap; the result is kept, and views of trees that share lower layers
// share their memory. A failed call may be tried again. Callers that ask at the same time share
// the work, and none is disturbed by the cancellation of another.
func (t *Tree) View(ctx context.Context) (*View, error) {
	if t == nil {
		return newEmptyView(), nil
	}
	return t.load(ctx)
}
