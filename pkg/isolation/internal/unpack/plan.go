package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// plan is what a directory is to be filled with, checked: every parent is a directory of the
// plan, and every link leads to a file of it. So nothing of it can lead out of the directory.
type plan struct {
	dirs  []dir // tree order, the root first
	links []link
}

// dir is a directory, and what is directly in it apart from directories and links.
type dir struct {
	path   string
	entry  *layer.Entry
	opaque bool
	files  []file
}

// file is anything but a directory or a link. Its name is not always that of its entry.
type file struct {
	name  string
	entry *layer.Entry
	from  layer.Layer
}

// link is a further name of a file.
type link struct{ path, target string }

// SelfContained reports whether the unpacked form of a layer over the tree below is the usual
// one, which depends on nothing but the layer: it lists all parents of its entries and the
// targets of its hard links, and removes only from directories that there are.
func SelfContained(x *layer.Index, below *tree.View) bool {
	dirs := map[string]bool{"": true}
	var hidden opaqueDirs
	for e := range x.All() {
		if !dirs[parentOf(e.Path)] {
			return false
		}
		hidden.enter(e)
		switch e.Type {
		case layer.Directory:
			dirs[e.Path] = true
		case layer.Hardlink:
			if _, err := linkTarget(x, e); err != nil {
				return false
			}
		case layer.Whiteout:
			if n := exact(below.Root(), parentOf(e.Path)); !hidden.above(e) && (n == nil || !n.IsDir()) {
				return false
			}
		}
	}
	return true
}

// opaqueDirs remembers, while entries pass by in tree order, the outermost directory that they lie in
// and that hides all lower ones: it is opaque, or a whiteout of the same layer removes what
// was there before.
type opaqueDirs struct {
	path string
	in   bool
}

func (o *opaqueDirs) enter(e *layer.Entry) {
	if o.in && !within(e.Path, o.path) {
		o.in = false
	}
	if !o.in && (e.Opaque || e.Type == layer.Whiteout) {
		o.in, o.path = true, e.Path
	}
}

// above reports whether e, which has just been entered, lies in such a directory.
func (o *opaqueDirs) above(e *layer.Entry) bool { return o.in && e.Path != o.path }

func within(p, dir string) bool {
	return dir == "" || p == dir || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// Context is the tree that a layer is unpacked for, if its form depends on that.
type Context struct {
	Below  *tree.View // without the layer
	Merged *tree.View // with it
}

// planLayer plans the unpacked form of l, whose index is x. tc may be nil if the layer is
// self-contained. What such a layer leaves to the layers below it is taken from there:
//
//   - A parent that is not listed must exist, because overlayfs takes the attributes of a
//     directory from the topmost layer that has it: it gets those of the merged tree.
//   - A hard link to a file of a lower layer cannot be made across directories: its content is
//     written again.
//   - A whiteout of nothing is left out: in a directory that no lower layer has, overlayfs does
//     not look for whiteouts and lists them as if they were files.
func planLayer(l layer.Layer, x *layer.Index, tc *Context) (*plan, error) {
	b := newBuilder()
	b.context = tc
	var hidden opaqueDirs
	var links []*layer.Entry
	for e := range x.All() {
		hidden.enter(e)
		var err error
		switch e.Type {
		case layer.Directory:
			err = b.directory(e.Path, e, e.Opaque)
		case layer.Hardlink:
			links = append(links, e)
		case layer.Whiteout:
			err = b.whiteout(e, hidden.above(e))
		default:
			err = b.file(e.Path, e, l)
		}
		if err != nil {
			return nil, err
		}
	}
	copies := map[*layer.Entry]string{}
	for _, e := range links {
		if err := b.link(x, e, copies); err != nil {
			return nil, err
		}
	}
	return &b.plan, nil
}

// link adds the hard link e. copies holds the files of lower layers that were added for others.
func (b *builder) link(x *layer.Index, e *layer.Entry, copies map[*layer.Entry]string) error {
	if _, err := b.parent(e.Path); err != nil {
		return err
	}
	target, err := linkTarget(x, e)
	if err == nil {
		b.plan.links = append(b.plan.links, link{e.Path, target})
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) || b.context == nil {
		return err
	}
	n := exact(b.context.Merged.Root(), e.Path)
	if n == nil || n.IsDir() {
		return err
	}
	if first, ok := copies[n.Entry()]; ok {
		b.plan.links = append(b.plan.links, link{e.Path, first})
		return nil
	}
	copies[n.Entry()] = e.Path
	return b.file(e.Path, n.Entry(), n.Layer())
}

// linkTarget finds the file of the same layer that the hard link e shares its inode with. The
// error matches fs.ErrNotExist if the layer has none.
func linkTarget(x *layer.Index, e *layer.Entry) (string, error) {
	to := e.Link
	for range x.Len() {
		t, err := x.Lookup(to)
		if err != nil {
			return "", fmt.Errorf("hard link %q: target: %w", e.Path, err)
		}
		switch t.Type {
		case layer.Hardlink:
			to = t.Link
		case layer.Whiteout: // meant is what a lower layer has
			return "", fmt.Errorf("hard link %q: target %q: %w", e.Path, to, fs.ErrNotExist)
		case layer.Directory:
			return "", fmt.Errorf("hard link %q: its target %q is a directory", e.Path, to)
		default:
			return to, nil
		}
	}
	return "", fmt.Errorf("hard link %q leads to itself", e.Path)
}

// planView plans a directory that holds the whole merged tree.
func planView(v *tree.View) (*plan, error) {
	b := newBuilder()
	first := map[*layer.Entry]string{}
	for p, n := range v.Walk("") {
		if n.IsDir() {
			if err := b.directory(p, n.Entry(), false); err != nil {
				return nil, err
			}
			continue
		}
		if n.Linked() {
			if target, ok := first[n.Entry()]; ok {
				b.plan.links = append(b.plan.links, link{p, target})
				continue
			}
			first[n.Entry()] = p
		}
		if err := b.file(p, n.Entry(), n.Layer()); err != nil {
			return nil, err
		}
	}
	return &b.plan, nil
}

// builder builds a plan from entries in tree order.
type builder struct {
	plan    plan
	at      map[string]int // directories by path
	context *Context
}

func newBuilder() *builder {
	b := &builder{at: map[string]int{"": 0}}
	b.plan.dirs = []dir{{entry: &layer.Entry{Type: layer.Directory, Mode: 0o755}}}
	return b
}

func (b *builder) directory(p string, e *layer.Entry, opaque bool) error {
	if p == "" {
		b.plan.dirs[0].entry = e
		return nil
	}
	if _, err := b.parent(p); err != nil {
		return err
	}
	b.add(p, e, opaque)
	return nil
}

// whiteout adds a whiteout, unless it is something else: the same layer can have more below it, in
// a directory that it only implies and that hides all lower ones; and where there is
// nothing below, there is nothing to remove. inOpaque says that this is so.
func (b *builder) whiteout(e *layer.Entry, inOpaque bool) error {
	if b.context != nil {
		if n := exact(b.context.Merged.Root(), e.Path); n != nil {
			return b.directory(e.Path, n.Entry(), true)
		}
		if exact(b.context.Below.Root(), e.Path) == nil {
			return nil
		}
		if n := exact(b.context.Merged.Root(), parentOf(e.Path)); n == nil || !n.IsDir() {
			return nil // the layer removes the directory, too
		}
	}
	if inOpaque {
		return nil
	}
	return b.file(e.Path, e, nil)
}

func (b *builder) add(p string, e *layer.Entry, opaque bool) int {
	i := len(b.plan.dirs)
	b.plan.dirs = append(b.plan.dirs, dir{path: p, entry: e, opaque: opaque})
	b.at[p] = i
	return i
}

func (b *builder) file(p string, e *layer.Entry, from layer.Layer) error {
	i, err := b.parent(p)
	if err != nil {
		return err
	}
	d := &b.plan.dirs[i]
	d.files = append(d.files, file{name: p[strings.LastIndexByte(p, '/')+1:], entry: e, from: from})
	return nil
}

// parent gives the directory that p lies in, adding it if no entry does.
func (b *builder) parent(p string) (int, error) {
	name := parentOf(p)
	if i, ok := b.at[name]; ok {
		return i, nil
	}
	if _, err := b.parent(name); err != nil {
		return 0, err
	}
	var n *tree.Node
	if b.context != nil {
		n = exact(b.context.Merged.Root(), name)
	}
	if n == nil || !n.IsDir() {
		return 0, fmt.Errorf("%q lies in %q, which is not a directory", p, name)
	}
	return b.add(name, n.Entry(), false), nil
}

// exact finds the node at p, following no links; nil if there is none.
func exact(root *tree.Node, p string) *tree.Node {
	n := root
	for name := range strings.SplitSeq(p, "/") {
		if n == nil || p == "" {
			return n
		}
		n, _ = n.Child(name)
	}
	return n
}

func parentOf(p string) string {
	return p[:max(strings.LastIndexByte(p, '/'), 0)]
}

// open opens the content of a regular file.
func (f *file) open(ctx context.Context) (io.ReadCloser, error) {
	return f.from.Open(ctx, f.entry.Path)
}
