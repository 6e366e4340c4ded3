package tree

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/layer"
)

// maxDepth is how many components a path may have. Linux cannot name a path of more than 4096
// bytes; the limit keeps a hostile layer from exhausting the stack.
const maxDepth = 4096

// apply returns the view that l, whose index is x, makes of v. See [View] for the rules.
func (v *View) apply(l layer.Layer, x *layer.Index) (*View, error) {
	a := &applier{layer: l, index: x, lower: v, records: make([]record, x.Len())}
	root, err := a.root()
	if err != nil {
		return nil, err
	}
	if err := a.resolveLinks(); err != nil {
		return nil, err
	}
	return &View{root: root}, nil
}

// applier merges one layer into a view, in one pass over the layer's index. The index is in
// tree order, so the entries of a directory's subtree lie side by side.
type applier struct {
	layer   layer.Layer
	index   *layer.Index
	lower   *View
	next    int      // position in index of the next entry
	records []record // what each entry became, by its position
	links   []int    // positions of hard links
	stack   []*Node  // children of the directories that are being merged
}

// record is where the node and inode of an entry lie: in one allocation per layer, and side by
// side, because who looks at one looks at the other.
type record struct {
	node  Node
	inode inode
}

func (a *applier) root() (*Node, error) {
	was := a.lower.root
	if a.index.Len() == 0 || a.index.At(0).Path != "" {
		return a.implied("", "", was, 0)
	}
	return a.directory(a.take(), "", was, 0)
}

// take makes the node of the next entry, as yet without children, and goes on to the one after.
func (a *applier) take() *Node {
	r, e := &a.records[a.next], a.index.At(a.next)
	a.next++
	r.inode.entry, r.inode.layer = e, a.layer
	r.node.name = e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	r.node.inode = &r.inode
	return &r.node
}

// below returns the next entry if it lies below the directory at path, else nil.
func (a *applier) below(path string) *layer.Entry {
	if a.next == a.index.Len() {
		return nil
	}
	e := a.index.At(a.next)
	if path == "" {
		return e
	}
	if len(e.Path) > len(path) && e.Path[len(path)] == '/' && e.Path[:len(path)] == path {
		return e
	}
	return nil
}

// merge consumes all entries below the directory at path and returns its children: those of
// lower as the entries change them.
func (a *applier) merge(path string, lower []*Node, depth int) ([]*Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d directories deep: %.100q", maxDepth, path)
	}
	base, from := len(a.stack), len(path)
	if from > 0 {
		from++ // the slash
	}
	for e := a.below(path); e != nil; e = a.below(path) {
		end := len(e.Path)
		if i := strings.IndexByte(e.Path[from:], '/'); i >= 0 {
			end = from + i
		}
		// Both are sorted: what lies before the entry's name is as it was.
		at, found := searchChildren(lower, e.Path[from:end])
		a.stack = append(a.stack, lower[:at]...)
		lower = lower[at:]
		var was *Node
		if found {
			was, lower = lower[0], lower[1:]
		}
		n, err := a.entry(e.Path[:end], e.Path[from:end], was, depth+1)
		if err != nil {
			return nil, err
		}
		if n != nil {
			a.stack = append(a.stack, n)
		}
	}
	a.stack = append(a.stack, lower...)
	children := slices.Clone(a.stack[base:])
	a.stack = a.stack[:base]
	return children, nil
}

// entry consumes the entry at path, if the layer has one, and all below it. It returns what is
// at path now, nil for nothing; was is what the lower view has there.
func (a *applier) entry(path, name string, was *Node, depth int) (*Node, error) {
	e := a.index.At(a.next)
	switch {
	case len(e.Path) != len(path):
		return a.implied(path, name, was, depth)
	case e.Type == layer.Whiteout:
		a.next++
		return a.implied(path, name, nil, depth)
	case e.Type == layer.Directory:
		return a.directory(a.take(), path, was, depth)
	}
	pos := a.next
	n := a.take()
	if e.Type == layer.Hardlink {
		n.inode = nil // known when all entries have a node
		a.links = append(a.links, pos)
	}
	below, err := a.merge(path, nil, depth)
	if err != nil {
		return nil, err
	}
	if len(below) > 0 {
		return nil, fmt.Errorf("%q lies below %q, which the same layer says is no directory", path+"/"+below[0].name, path)
	}
	return n, nil
}

// directory gives a new directory its children.
func (a *applier) directory(n *Node, path string, was *Node, depth int) (*Node, error) {
	var lower []*Node
	if was != nil && was.dir != nil && !n.inode.entry.Opaque {
		lower = was.dir.children
	}
	children, err := a.merge(path, lower, depth)
	if err != nil {
		return nil, err
	}
	n.dir = newDirectory(children)
	return n, nil
}

// implied returns what is at path if the layer does not list it but perhaps something below
// it. Whiteouts alone bring no directory about.
func (a *applier) implied(path, name string, was *Node, depth int) (*Node, error) {
	if was == nil || was.dir == nil {
		children, err := a.merge(path, nil, depth)
		if err != nil || len(children) == 0 {
			return was, err
		}
		return impliedDirectory(path, name, children), nil
	}
	children, err := a.merge(path, was.dir.children, depth)
	if err != nil || slices.Equal(children, was.dir.children) {
		return was, err
	}
	return &Node{name: was.name, inode: was.inode, dir: newDirectory(children)}, nil
}
