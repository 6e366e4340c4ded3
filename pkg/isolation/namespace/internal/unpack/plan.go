package unpack

import (
	"context"
	"errors"
	"fmt"
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

// SelfContained reports whether the unpacked form of a layer is the same whatever is below
// it: it lists all parents of its entries and the targets of its hard links.
func SelfContained(x *layer.Index) bool {
	dirs := map[string]bool{"": true}
	for e := range x.All() {
		if e.Type == layer.Directory {
			dirs[e.Path] = true
		}
		if !dirs[parentOf(e.Path)] {
			return false
		}
		if e.Type == layer.Hardlink {
			if _, err := linkTarget(x, e); err != nil {
				return false
			}
		}
	}
	return true
}

// planLayer plans the unpacked form of l. merged is the tree up to and including l, for what
// the layer leaves to those below it; it may be nil if the layer is self-contained.
//
// A parent that is not listed must exist, because overlayfs takes the attributes of a directory
// from the topmost layer that has it: it gets those of the merged tree. A hard link to a file
// of a lower layer cannot be made across directories: its content is written again.
func planLayer(l layer.Layer, x *layer.Index, merged *tree.View) (*plan, error) {
	b := newBuilder()
	if merged != nil {
		b.implied = merged.Root()
	}
	var links []*layer.Entry
	for e := range x.All() {
		switch e.Type {
		case layer.Directory:
			if err := b.directory(e.Path, e, e.Opaque); err != nil {
				return nil, err
			}
		case layer.Hardlink:
			links = append(links, e)
		case layer.Whiteout:
			if err := b.whiteout(e); err != nil {
				return nil, err
			}
		default:
			if err := b.file(e.Path, e, l); err != nil {
				return nil, err
			}
		}
	}
	copies := map[*layer.Entry]string{} // of files of lower layers
	for _, e := range links {
		if _, err := b.parent(e.Path); err != nil {
			return nil, err
		}
		target, err := linkTarget(x, e)
		if err == nil {
			b.plan.links = append(b.plan.links, link{e.Path, target})
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) || merged == nil {
			return nil, err
		}
		n := exact(merged.Root(), e.Path)
		if n == nil || n.IsDir() {
			return nil, fmt.Errorf("hard link %q: its target %q does not exist", e.Path, e.Link)
		}
		if first, ok := copies[n.Entry()]; ok {
			b.plan.links = append(b.plan.links, link{e.Path, first})
			continue
		}
		copies[n.Entry()] = e.Path
		if err := b.file(e.Path, n.Entry(), n.Layer()); err != nil {
			return nil, err
		}
	}
	return &b.plan, nil
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
	implied *tree.Node     // the root of the tree that parents are taken from
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

// whiteout adds a whiteout, unless the merged tree shows that it is something else: the same layer
// can have more below it, in a directory that it only implies and that hides all lower
// ones; and in what is no directory there is nothing to remove.
func (b *builder) whiteout(e *layer.Entry) error {
	if n := exact(b.implied, e.Path); n != nil {
		return b.directory(e.Path, n.Entry(), true)
	}
	if _, ok := b.at[parentOf(e.Path)]; !ok {
		if n := exact(b.implied, parentOf(e.Path)); n == nil || !n.IsDir() {
			return nil
		}
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
	n := exact(b.implied, name)
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
func (f *file) open(ctx context.Context) (readCloser, error) {
	return f.from.Open(ctx, f.entry.Path)
}
