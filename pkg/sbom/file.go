package sbom

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"slices"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// file is a regular file of the tree that finders want to see.
type file struct {
	path    string
	node    *tree.Node
	finders []*finder
}

// Path implements filesystem.FileAPI.
func (f *file) Path() string { return f.path }

// Stat implements filesystem.FileAPI.
func (f *file) Stat() (fs.FileInfo, error) { return infoOf(path.Base(f.path), f.node), nil }

// open opens the content for some of the finders; nil if they do not want it after all, because it is no
// program.
func (f *file) open(ctx context.Context, finders []*finder, dir *state.Dir) (*content, error) {
	if slices.ContainsFunc(finders, func(d *finder) bool { return !d.programs }) {
		return openContent(ctx, f.node, dir)
	}
	return openIf(ctx, f.node, dir, isProgram)
}

// isProgram reports whether a file that begins so is a program that was compiled: most that may be
// executed are scripts, or small.
func isProgram(start []byte) bool {
	for _, magic := range []string{"\x7fELF", "MZ", "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe"} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return true
		}
	}
	return false
}

// candidates lists the files of v that a finder wants, in tree order. Of a file with several names
// the first counts.
func candidates(v *tree.View, finders []*finder) []*file {
	c := &collector{view: v, finders: finders, seen: map[*layer.Entry]bool{}}
	for p, n := range v.Walk("") {
		c.add(p, n)
	}
	slices.SortStableFunc(c.files, func(a, b *file) int { return layer.ComparePaths(a.path, b.path) })
	return c.files
}

type collector struct {
	view    *tree.View
	finders []*finder
	seen    map[*layer.Entry]bool
	files   []*file
}

func (c *collector) add(p string, n *tree.Node) {
	if n.IsSymlink() && inModules(path.Dir(p)) {
		c.addLinkedModule(p)
	}
	c.addIf(p, n, func(f *file, d *finder) bool { return d.wants(f, c.view) })
}

// addLinkedModule adds the description of a module that is installed by a symbolic link to it, as
// those of workspaces are.
func (c *collector) addLinkedModule(link string) {
	dir, n, err := c.view.Resolve(link, true)
	if err != nil {
		return // it leads nowhere
	}
	if description, ok := n.Child(moduleFile); ok {
		c.addIf(path.Join(dir, moduleFile), description, func(_ *file, d *finder) bool { return d.modules })
	}
}

// addIf adds a regular file for the finders that want it, if any do.
func (c *collector) addIf(p string, n *tree.Node, wants func(*file, *finder) bool) {
	if !n.IsRegular() || n.Entry().Size == 0 || c.seen[n.Entry()] {
		return
	}
	f := &file{path: p, node: n}
	for _, d := range c.finders {
		if wants(f, d) {
			f.finders = append(f.finders, d)
		}
	}
	if len(f.finders) > 0 {
		c.seen[n.Entry()] = true
		c.files = append(c.files, f)
	}
}
