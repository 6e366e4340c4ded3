package tree

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Node is one name in a [View]. Nodes are immutable and shared: a directory that a layer
// does not touch is the same node in the views below and above it. Two hard-linked names
// are two nodes with one inode.
type Node struct {
	name  string
	inode *inode
	dir   *directory // nil unless the inode is a directory
}

// inode is what hard-linked names have in common.
type inode struct {
	entry *layer.Entry
	layer layer.Layer // nil for implied directories
	// sum computes the content sum if the entry has none; made when first needed.
	sum    atomic.Pointer[shared[layer.Sum]]
	linked atomic.Bool
}

// directory is what only directories have.
type directory struct {
	children []*Node // sorted by name
	size     int     // nodes in the subtree, the directory itself included
	// digests holds the recursive digests that were asked for, by digestMode.
	digests [digestModes]atomic.Pointer[layer.Sum]
}

func newDirectory(children []*Node) *directory {
	d := &directory{children: children, size: 1}
	for _, c := range children {
		d.size += c.size()
	}
	return d
}

func (n *Node) size() int {
	if n.dir == nil {
		return 1
	}
	return n.dir.size
}

// Name is the last component of the node's path, "" for the root.
func (n *Node) Name() string { return n.name }

// Entry says what the node is: never a Hardlink and never a Whiteout. Of a hard link it is
// the entry of the linked file, so Entry().Path can differ from the node's path. A directory
// that no layer lists but that others lie in is a synthesised one: mode 0755, owner 0:0,
// modified at Unix time 0. The entry is shared and must not be modified.
func (n *Node) Entry() *layer.Entry { return n.inode.entry }

// Layer is the layer that the entry comes from and whose Open(Entry().Path) gives the
// content. It is nil for a synthesised directory.
func (n *Node) Layer() layer.Layer { return n.inode.layer }

// SameInode reports whether n and m are names of one file: the same name, or hard links to
// each other.
func (n *Node) SameInode(m *Node) bool { return n.inode == m.inode }

// Linked reports whether the node may have other names, that is, hard links. If false, there
// are none in the view that the node was taken from; if true, they can be outside of the part
// of the tree that the caller looks at.
func (n *Node) Linked() bool { return n.inode.linked.Load() }

// IsDir reports whether n is a directory.
func (n *Node) IsDir() bool { return n.dir != nil }

// IsRegular reports whether n is a regular file.
func (n *Node) IsRegular() bool { return n.inode.entry.Type == layer.Regular }

// IsSymlink reports whether n is a symbolic link.
func (n *Node) IsSymlink() bool { return n.inode.entry.Type == layer.Symlink }

// Child returns the entry of a directory by its name, which is one path component. It
// knows neither "." nor ".." and gives false if n is no directory.
func (n *Node) Child(name string) (*Node, bool) {
	if n.dir == nil {
		return nil, false
	}
	i, ok := searchChildren(n.dir.children, name)
	if !ok {
		return nil, false
	}
	return n.dir.children[i], true
}

// Children yields the entries of a directory, sorted by name; none if n is no directory.
func (n *Node) Children() iter.Seq[*Node] {
	if n.dir == nil {
		return func(func(*Node) bool) {}
	}
	return slices.Values(n.dir.children)
}

// NumChildren is the number of entries of a directory, 0 if n is no directory.
func (n *Node) NumChildren() int {
	if n.dir == nil {
		return 0
	}
	return len(n.dir.children)
}

// Open returns the content of a regular file; of anything else it is an error that matches
// fs.ErrInvalid.
func (n *Node) Open(ctx context.Context) (io.ReadCloser, error) {
	e := n.inode.entry
	if e.Type != layer.Regular {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fs.ErrInvalid}
	}
	return n.inode.layer.Open(ctx, e.Path)
}

func searchChildren(children []*Node, name string) (int, bool) {
	return slices.BinarySearchFunc(children, name, func(n *Node, name string) int {
		return strings.Compare(n.name, name)
	})
}
