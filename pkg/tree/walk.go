package tree

import (
	"iter"
	"strings"
)

// Walk yields p and everything below it with their paths, in tree order (see
// layer.ComparePaths): each directory directly before its contents. Links in the parents of p
// are followed, p and what is below are not; paths are as in layer.Entry.Path. If nothing is at
// p, Walk yields nothing: who must know asks [View.LookupNoFollow].
func (v *View) Walk(p string) iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) {
		at, n, err := v.Resolve(p, false)
		if err != nil {
			return
		}
		walk(at, n, yield)
	}
}

// Walk yields n and everything below it in tree order, with paths as if n were at p.
func (n *Node) Walk(p string) iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) { walk(p, n, yield) }
}

func walk(p string, n *Node, yield func(string, *Node) bool) bool {
	if !yield(p, n) {
		return false
	}
	if n.dir == nil {
		return true
	}
	for _, c := range n.dir.children {
		if !walk(childPath(p, c), c, yield) {
			return false
		}
	}
	return true
}

// childPath joins a directory's path and the name of its child. Nearly always the child's
// entry has that very string already.
func childPath(dir string, c *Node) string {
	if dir == "" {
		return c.name
	}
	p := c.inode.entry.Path
	if len(p) == len(dir)+1+len(c.name) && p[len(dir)] == '/' && strings.HasPrefix(p, dir) && strings.HasSuffix(p, c.name) {
		return p
	}
	return dir + "/" + c.name
}
