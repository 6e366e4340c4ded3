package tree

import (
	"io/fs"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links one path may lead through. Linux allows 40; BuildKit
// and containerd, which resolve paths before the kernel sees them, 255.
const maxLinks = 255

// Lookup returns what is at p, following symbolic links as a process would that has the view
// as its root: absolute targets start at the root, ".." does not leave it, and neither does
// anything else. p may be absolute or relative to the root; a trailing slash has no meaning.
//
// Errors are *fs.PathError: one that matches fs.ErrNotExist if something is missing,
// syscall.ENOTDIR if a component that is not the last one is no directory, syscall.ELOOP for
// more than 255 links.
func (v *View) Lookup(p string) (*Node, error) {
	_, n, err := v.resolve(p, true, true)
	return n, err
}

// LookupNoFollow is Lookup, except that a symbolic link at p itself is returned and not
// followed.
func (v *View) LookupNoFollow(p string) (*Node, error) {
	_, n, err := v.resolve(p, false, true)
	return n, err
}

// Resolve returns the path that p stands for, free of symbolic links and in the form of
// layer.Entry.Path, and what is there. A link at p itself is followed only with last.
//
// If something is missing, Resolve still says where p would be, with a nil node and an error
// that matches fs.ErrNotExist. Missing components count as directories that have yet to be
// made, so "missing/.." is where it started. For other errors the path is "".
func (v *View) Resolve(p string, last bool) (resolved string, n *Node, err error) {
	at, n, err := v.resolve(p, last, false)
	return at.String(), n, err
}

// position is a place reached from the root: existing directories, the last of which may be
// something else, and then names that do not exist.
type position struct {
	nodes   []*Node // nodes[0] is the root; empty for no position
	missing []string
}

func (p *position) top() *Node { return p.nodes[len(p.nodes)-1] }

func (p *position) up() {
	switch {
	case len(p.missing) > 0:
		p.missing = p.missing[:len(p.missing)-1]
	case len(p.nodes) > 1:
		p.nodes = p.nodes[:len(p.nodes)-1]
	}
}

func (p *position) String() string {
	if len(p.nodes) == 0 {
		return ""
	}
	names := make([]string, 0, len(p.nodes)-1+len(p.missing))
	for _, n := range p.nodes[1:] {
		names = append(names, n.name)
	}
	return strings.Join(append(names, p.missing...), "/")
}

// resolve does the work of Lookup (strict: whatever is missing is an error at once) and
// Resolve. The node is nil if and only if there is an error.
func (v *View) resolve(p string, last, strict bool) (*position, *Node, error) {
	at := &position{nodes: append(make([]*Node, 0, 16), v.root)}
	fail := func(err error) (*position, *Node, error) {
		return &position{}, nil, &fs.PathError{Op: "lookup", Path: p, Err: err}
	}
	links := 0
	for rest := p; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if name == "" || name == "." {
			continue
		}
		if len(at.missing) == 0 && !at.top().IsDir() {
			return fail(syscall.ENOTDIR)
		}
		if name == ".." {
			at.up()
			continue
		}
		if len(at.missing) > 0 {
			at.missing = append(at.missing, name)
			continue
		}
		child, ok := at.top().Child(name)
		switch {
		case !ok && strict:
			return fail(syscall.ENOENT)
		case !ok:
			at.missing = append(at.missing, name)
		case child.IsSymlink() && (last || hasComponents(rest)):
			if links++; links > maxLinks {
				return fail(syscall.ELOOP)
			}
			target := child.Entry().Link
			if target == "" {
				// As open(2) does for a file system that has such a link.
				return fail(syscall.ENOENT)
			}
			if target[0] == '/' {
				at.nodes = at.nodes[:1]
			}
			rest = target + "/" + rest
		default:
			at.nodes = append(at.nodes, child)
		}
	}
	if len(at.missing) > 0 {
		return at, nil, &fs.PathError{Op: "lookup", Path: p, Err: syscall.ENOENT}
	}
	return at, at.top(), nil
}

// hasComponents reports whether the rest of a path names anything that must be resolved.
func hasComponents(rest string) bool {
	for c := range strings.SplitSeq(rest, "/") {
		if c != "" && c != "." {
			return true
		}
	}
	return false
}
