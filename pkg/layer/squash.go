package layer

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Squash returns one layer that changes what is below it as all of layers do together, stacked in this order. What
// a later one deletes or replaces is not in it, nor a directory that no layer mentions and that holds nothing in the end. Contents are not read. A hard link to a file below layers
// that one of them replaces is refused: its content is in none of them.
func Squash(ctx context.Context, layers []Layer) (Layer, error) {
	root := &squashed{}
	for _, l := range layers {
		x, err := l.Index(ctx)
		if err != nil {
			return nil, err
		}
		root.applyAll(l, x)
	}
	c := &collector{root: root, names: map[*inode]string{}}
	if err := c.collect("", root, false); err != nil {
		return nil, fmt.Errorf("making one layer of several: %w", err)
	}
	return New(c.files)
}

// squashed is what layers have together at one path.
type squashed struct {
	inode    *inode // nil: an implied directory, or only a deletion
	implied  bool   // holds, or has held, other entries
	hides    bool   // what is below the layers at this path is not seen
	children map[string]*squashed
}

// inode is an object that may have several names.
type inode struct {
	entry Entry
	layer Layer
}

func (n *squashed) isDirectory() bool { return n.inode == nil || n.inode.entry.Type == Directory }

// find returns the node at path, nil if there is none.
func (n *squashed) find(path string) *squashed {
	for part := range strings.SplitSeq(path, "/") {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// place returns the node at path for an entry. Its parents become directories where they are none.
func (n *squashed) place(path string) *squashed {
	if path == "" {
		return n
	}
	for part := range strings.SplitSeq(path, "/") {
		if !n.isDirectory() {
			*n = squashed{hides: true}
		}
		n.implied = true
		n = n.child(part)
	}
	return n
}

func (n *squashed) child(part string) *squashed {
	child := n.children[part]
	if child == nil {
		child = &squashed{}
		if n.children == nil {
			n.children = map[string]*squashed{}
		}
		n.children[part] = child
	}
	return child
}

// delete notes that what is at path is gone. Below what is no directory, or hidden already, there is nothing.
func (n *squashed) delete(path string) {
	dir, base := splitPath(path)
	parent, hidden := n, n.hides
	if dir != "" {
		for part := range strings.SplitSeq(dir, "/") {
			if hidden && parent.children[part] == nil {
				return
			}
			if parent = parent.child(part); !parent.isDirectory() {
				return
			}
			hidden = hidden || parent.hides
		}
	}
	if hidden {
		delete(parent.children, base)
		return
	}
	*parent.child(base) = squashed{hides: true}
}

// applyAll puts a layer over what the layers below it have. Its hard links come last: they may be to any of its
// files, or to those of the layers below it, also if it deletes them.
func (n *squashed) applyAll(l Layer, x *Index) {
	below := map[string]*inode{} // of targets that are in no entry of x
	for e := range x.All() {
		if e.Type != Hardlink {
			continue
		}
		target := linkTarget(x, e)
		if at := n.find(target); at != nil && at.inode != nil {
			below[target] = at.inode
		}
	}
	var links []*Entry
	for e := range x.All() {
		if e.Type == Hardlink {
			links = append(links, e)
			continue
		}
		n.apply(l, e)
	}
	for _, e := range links {
		at := n.place(e.Path)
		target := linkTarget(x, e)
		held := below[target]
		if t, err := x.Lookup(target); err == nil && t.Type != Whiteout {
			held = n.find(target).inode
		}
		if held == nil {
			held = &inode{*e, l}
			held.entry.Link = target
		}
		at.children, at.inode = nil, held
	}
}

// linkTarget is what a hard link, perhaps through others of its layer, is to.
func linkTarget(x *Index, e *Entry) string {
	for range maxLinks {
		t, err := x.Lookup(e.Link)
		if err != nil || t.Type != Hardlink {
			break
		}
		e = t
	}
	return e.Link
}

// apply puts one entry, which is no hard link, over what the layers below have.
func (n *squashed) apply(l Layer, e *Entry) {
	if e.Type == Whiteout {
		n.delete(e.Path)
		return
	}
	at := n.place(e.Path)
	if e.Type != Directory {
		at.children, at.inode = nil, &inode{*e, l}
		return
	}
	if e.Opaque || !at.isDirectory() {
		at.children, at.hides = nil, true
	}
	at.inode = &inode{*e, l}
}

// collector lists what the squashed layer has, in tree order.
type collector struct {
	root  *squashed
	files []File
	names map[*inode]string // the first of each object
}

// collect lists n and what is below; hidden says that nothing below the layers is seen there.
func (c *collector) collect(path string, n *squashed, hidden bool) error {
	if err := c.add(path, n, hidden); err != nil {
		return err
	}
	hidden = hidden || n.hides
	parts := make([]string, 0, len(n.children))
	for part := range n.children {
		parts = append(parts, part)
	}
	slices.Sort(parts)
	for _, part := range parts {
		if err := c.collect(joinPath(path, part), n.children[part], hidden); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) add(path string, n *squashed, hidden bool) error {
	switch {
	case n.inode != nil:
	case n.implied && (hidden || n.hides):
		c.files = append(c.files, File{Entry: impliedDirectory(path, n.hides)})
		return nil
	case n.hides:
		c.files = append(c.files, File{Entry: whiteout(path)})
		return nil
	default:
		return nil
	}
	e := n.inode.entry
	if first, named := c.names[n.inode]; named {
		if e.Type != Hardlink {
			e = hardlinkTo(&e, first)
		}
		e.Path = path
		c.files = append(c.files, File{Entry: e})
		return nil
	}
	c.names[n.inode] = path
	f := File{Entry: e}
	f.Path = path
	switch e.Type {
	case Directory:
		f.Opaque = e.Opaque || n.hides
	case Regular:
		f.Content = From(n.inode.layer, e.Path)
	case Hardlink:
		if c.root.find(e.Link) != nil {
			return fmt.Errorf("%q is a hard link to %q below them, which one of them replaces", path, e.Link)
		}
	}
	c.files = append(c.files, f)
	return nil
}
