package inplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/slipway-build/slipway/pkg/extract"
	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/scan"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// maxTrees is how many trees are kept at most; the one that was not used for longest goes first.
const maxTrees = 8

// treeDir is a tree that is extracted in the store.
type treeDir struct {
	name   string
	layers []layer.Layer // without those that change nothing
	tree   *tree.Tree
	known  *scan.Snapshot // what it looked like after the run used
	used   int
	lent   *lent // the layer that the run made, whose contents are in here
}

// materialize returns a directory that holds t and is the caller's to change. One that holds the layers
// below, as a RUN of the same stage left it, is brought up to date; another RUN on these
// layers then needs a copy of its own.
func (b *Backend) materialize(ctx context.Context, t *tree.Tree) (*treeDir, error) {
	view, err := t.View(ctx)
	if err != nil {
		return nil, err
	}
	layers, err := nonEmpty(ctx, t)
	if err != nil {
		return nil, err
	}
	if d := b.take(layers); d != nil {
		if err := d.lent.settle(ctx, b.preserve); err != nil {
			b.trees = append(b.trees, d) // somebody may read there
			return nil, err
		}
		d.lent = nil
		ok, err := b.update(ctx, d, view, len(d.layers) == len(layers))
		if err == nil && ok {
			d.layers, d.tree = layers, t
			return d, nil
		}
		if err := errors.Join(err, b.remove(d)); err != nil {
			return nil, err
		}
	}
	if len(b.trees) >= maxTrees {
		old := slices.MinFunc(b.trees, func(x, y *treeDir) int { return x.used - y.used })
		if err := old.lent.settle(ctx, b.preserve); err != nil {
			return nil, err
		}
		b.trees = slices.DeleteFunc(b.trees, func(d *treeDir) bool { return d == old })
		if err := b.remove(old); err != nil {
			return nil, err
		}
	}
	d := &treeDir{name: b.id("t"), layers: layers, tree: t}
	if err := os.Mkdir(b.inStore(d.name), 0o700); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	if err := extractView(ctx, view, b.inStore(d.name)); err != nil {
		return nil, errors.Join(fmt.Errorf("isolation: extracting the root filesystem: %w", err), b.remove(d))
	}
	return d, nil
}

func extraction() extract.Options {
	return extract.Options{Skip: func(name string) bool { return !xattr.Portable(name) }}
}

// extractView extracts a whole tree into the empty directory at path.
func extractView(ctx context.Context, v *tree.View, path string) error {
	u, err := unpack.New(unpack.Options{})
	if err != nil {
		return err
	}
	return u.View(ctx, v, path)
}

func nonEmpty(ctx context.Context, t *tree.Tree) ([]layer.Layer, error) {
	var layers []layer.Layer
	for _, l := range t.Layers() {
		x, err := l.Index(ctx)
		if err != nil {
			return nil, err
		}
		if x.Len() > 0 {
			layers = append(layers, l)
		}
	}
	return layers, nil
}

// take takes out the tree with the most of layers, and no others; nil if there is none.
func (b *Backend) take(layers []layer.Layer) *treeDir {
	best := -1
	for i, d := range b.trees {
		n := len(d.layers)
		if n > 0 && n <= len(layers) && slices.Equal(d.layers, layers[:n]) && (best < 0 || n > len(b.trees[best].layers)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	d := b.trees[best]
	b.trees = slices.Delete(b.trees, best, best+1)
	return d
}

// update turns d into view, which it holds already if it has the same layers. It reports false if
// that must be done from the start, because another process could have changed d meanwhile, or
// for hard links.
func (b *Backend) update(ctx context.Context, d *treeDir, view *tree.View, same bool) (bool, error) {
	if d.used != b.runs {
		now, err := scan.Take(ctx, b.inStore(d.name))
		if err != nil {
			return false, err
		}
		if !now.Equal(d.known) {
			return false, nil
		}
	}
	if same {
		return true, nil // and what it looks like is known
	}
	d.known = nil
	held, err := d.tree.View(ctx)
	if err != nil {
		return false, err
	}
	err = morph(ctx, b.inStore(d.name), held.Root(), view.Root())
	if errors.Is(err, errLinked) {
		return false, nil
	}
	return err == nil, err
}

var errLinked = errors.New("a hard link changes")

// morph changes the directory at path, which holds from, into to.
func morph(ctx context.Context, path string, from, to *tree.Node) error {
	for f := range from.Children() {
		if c, ok := to.Child(f.Name()); !ok || !c.SameInode(f) && !(c.IsDir() && f.IsDir()) {
			if err := os.RemoveAll(filepath.Join(path, f.Name())); err != nil {
				return err
			}
		}
	}
	for c := range to.Children() {
		f, ok := from.Child(c.Name())
		var err error
		switch {
		case ok && (f == c || !c.IsDir() && f.SameInode(c)):
		case ok && c.IsDir() && f.IsDir():
			err = morph(ctx, filepath.Join(path, c.Name()), f, c)
		case c.Linked() && !c.IsDir():
			err = errLinked
		default:
			err = extraction().Node(ctx, c, path)
		}
		if err != nil {
			return err
		}
	}
	return extraction().Metadata(ctx, to, path)
}

// put gives a tree back that a process has changed into t and that looks like now.
func (b *Backend) put(ctx context.Context, d *treeDir, t *tree.Tree, now *scan.Snapshot) (err error) {
	if d.layers, err = nonEmpty(ctx, t); err != nil {
		return err
	}
	d.tree, d.known, d.used = t, now, b.runs // its view may be large, and is not needed after the last RUN
	b.trees = append(b.trees, d)
	return nil
}

func (b *Backend) remove(d *treeDir) error {
	return errors.Join(d.lent.Close(), b.removeAll(b.inStore(d.name)))
}
