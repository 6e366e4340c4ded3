package namespace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// formatVersion is part of the name of everything unpacked that outlives a build. It changes
// with the form.
const formatVersion = "1"

// flattened is how many layers are joined into one directory at a time when there are more than
// overlayfs takes. The number divides deep stacks at places that stay the same while
// they grow.
const flattened = 400

// lowerKey identifies a directory that overlayfs can use as a lower one: a layer in its usual form;
// a layer as it must be on a certain tree; or, with no layer, a whole tree.
type lowerKey struct {
	layer layer.Layer
	on    bool
	tree  *tree.Tree
}

// lower is such a directory, made once; turn is held by whoever makes or looks at it.
type lower struct {
	turn chan struct{}
	name string // "" until it was made
}

// materialize unpacks the layers of t that are not unpacked yet, several at once, and returns the
// names of their directories, topmost first.
func (b *Backend) materialize(ctx context.Context, t *tree.Tree) ([]string, error) {
	if _, err := t.View(ctx); err != nil { // fetches what is missing, several at once
		return nil, err
	}
	stack, err := visible(ctx, t)
	if err != nil {
		return nil, err
	}
	rest := (*tree.Tree)(nil) // what is joined into one directory
	if n := flatLayers(len(stack)); n > 0 {
		rest = stack[len(stack)-n]
		stack = stack[:len(stack)-n]
	}
	names := make([]string, len(stack))
	g, gctx := errgroup.WithContext(ctx)
	for i, sub := range stack {
		g.Go(func() (err error) {
			names[i], err = b.layerDir(gctx, sub)
			return err
		})
	}
	if rest != nil {
		var name string
		g.Go(func() (err error) {
			name, err = b.flatDir(gctx, rest)
			return err
		})
		if err := g.Wait(); err != nil {
			return nil, err
		}
		return slices.Concat(names, []string{name}), nil
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{emptyLower}
	}
	return names, nil
}

// flatLayers is how many of the lowest of n layers are to be joined.
func flatLayers(n int) int {
	if n <= overlay.MaxLowers {
		return 0
	}
	const extra = overlay.MaxLowers - 1 // beside the joined ones
	return (n - extra + flattened - 1) / flattened * flattened
}

// visible lists the trees, topmost first, whose top layers make up t: without empty
// layers, and ending at one that hides everything below it.
func visible(ctx context.Context, t *tree.Tree) ([]*tree.Tree, error) {
	var stack []*tree.Tree
	for ; t != nil; t = t.Parent() {
		x, err := t.Top().Index(ctx)
		if err != nil {
			return nil, err
		}
		if x.Len() == 0 {
			continue
		}
		stack = append(stack, t)
		if root := x.At(0); root.Path == "" && root.Opaque {
			break
		}
	}
	return stack, nil
}

// layerDir returns the name of the directory that holds the topmost layer of t.
func (b *Backend) layerDir(ctx context.Context, t *tree.Tree) (string, error) {
	b.mu.Lock()
	name, ok := b.names[t]
	b.mu.Unlock()
	if ok {
		return name, nil
	}
	name, err := b.findLayerDir(ctx, t)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names[t] = name
	return name, nil
}

func (b *Backend) findLayerDir(ctx context.Context, t *tree.Tree) (string, error) {
	l := t.Top()
	x, err := l.Index(ctx)
	if err != nil {
		return "", err
	}
	below, err := t.Parent().View(ctx)
	if err != nil {
		return "", err
	}
	key := lowerKey{layer: l}
	var tc *unpack.Context
	if !unpack.SelfContained(x, below) {
		merged, err := t.View(ctx)
		if err != nil {
			return "", err
		}
		key.on, key.tree = true, t.Parent()
		tc = &unpack.Context{Below: below, Merged: merged}
	}
	return b.lower(ctx, key, func(ctx context.Context) (string, error) {
		fill := func(ctx context.Context, dir string) error { return b.unpacker.Layer(ctx, l, tc, dir) }
		name, err := persistentName(t, tc == nil)
		if err != nil {
			return "", err
		}
		if name == "" {
			return b.temporary(ctx, fill)
		}
		return b.state.Tree(ctx, "unpacked", name+"-"+b.variant(), fill)
	})
}

// flatDir returns the name of a directory that holds all of t.
func (b *Backend) flatDir(ctx context.Context, t *tree.Tree) (string, error) {
	return b.lower(ctx, lowerKey{tree: t}, func(ctx context.Context) (string, error) {
		v, err := t.View(ctx)
		if err != nil {
			return "", err
		}
		return b.temporary(ctx, func(ctx context.Context, dir string) error { return b.unpacker.View(ctx, v, dir) })
	})
}

// persistentName names the unpacked form of the topmost layer of t across builds: by the digest
// of its content, or if it depends on lower layers by all of theirs. It is "" if one of
// them has none.
func persistentName(t *tree.Tree, alone bool) (string, error) {
	layers := t.Layers()
	if alone {
		layers = layers[len(layers)-1:]
	}
	sum := sha256.New()
	for _, l := range slices.Backward(layers) {
		blob, ok := l.(layer.Blob)
		if !ok {
			return "", nil
		}
		id, err := blob.Blob().DiffID()
		if err != nil {
			return "", fmt.Errorf("isolation: digest of a layer: %w", err)
		}
		if alone {
			return id.Algorithm + "-" + id.Hex, nil
		}
		fmt.Fprintln(sum, id)
	}
	return "stack-" + hex.EncodeToString(sum.Sum(nil)), nil
}

// variant tells apart the forms in which a layer can be unpacked.
func (b *Backend) variant() string {
	v := "user"
	if b.mode.xattrs == overlay.Trusted {
		v = "trusted"
	}
	if b.mode.noDevices {
		v += "-nodev"
	}
	return v + "-v" + formatVersion
}

// temporary fills a directory that lives as long as the backend.
func (b *Backend) temporary(ctx context.Context, fill func(ctx context.Context, dir string) error) (string, error) {
	dir := filepath.Join(b.dir, "t"+b.id())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("isolation: %w", err)
	}
	return dir, fill(ctx, dir)
}

// lower returns the short name of the directory that key stands for, calling mk for its path
// if there is none yet. Of several callers one makes it; if it fails, the next one tries.
func (b *Backend) lower(ctx context.Context, key lowerKey, mk func(context.Context) (path string, err error)) (string, error) {
	b.mu.Lock()
	l, ok := b.lowers[key]
	if !ok {
		l = &lower{turn: make(chan struct{}, 1)}
		b.lowers[key] = l
	}
	b.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if l.name != "" {
		return l.name, nil
	}
	path, err := mk(ctx)
	if err != nil {
		return "", err
	}
	name, err := b.shorten(path)
	if err != nil {
		return "", err
	}
	l.name = name
	return name, nil
}

// keep registers an upper directory as the lower one of the layer that it has become.
func (b *Backend) keep(l layer.Layer, root *os.Root) error {
	name, err := b.shorten(root.Name())
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.roots = append(b.roots, root)
	b.lowers[lowerKey{layer: l}] = &lower{turn: make(chan struct{}, 1), name: name}
	return nil
}

// shorten gives a directory a name relative to b.dir that is short enough for hundreds of them
// to fit into the one page of options that mount(2) takes.
func (b *Backend) shorten(path string) (string, error) {
	name := filepath.Join("l", b.id())
	if err := os.Symlink(path, filepath.Join(b.dir, name)); err != nil {
		return "", fmt.Errorf("isolation: %w", err)
	}
	return name, nil
}
