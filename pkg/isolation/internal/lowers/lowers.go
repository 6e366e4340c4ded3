// Package lowers keeps layers in the form in which an overlay mount can stack them, each made once:
// those of base images and of layers with a digest across builds, the others for one build.
package lowers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Form is how a layer is kept: what is made of it in a new, empty directory.
type Form interface {
	// Variant tells apart the forms of one layer, and changes with them.
	Variant() string
	// SelfContained reports whether the form of a layer with this index, over the tree below,
	// depends on nothing but the layer.
	SelfContained(x *layer.Index, below *tree.View) bool
	// Layer makes the form of l. tc is nil if that is self-contained.
	Layer(ctx context.Context, l layer.Layer, tc *unpack.Context, dir string) error
	// View makes the form of a layer that is the whole tree.
	View(ctx context.Context, v *tree.View, dir string) error
}

// Store keeps the layers of one build in one form.
type Store struct {
	state *state.Dir
	kind  string
	dir   string
	form  Form
	ids   atomic.Uint64

	mu     sync.Mutex
	lowers map[key]*lower
	names  map[*tree.Tree]string // of the directory of the topmost layer
}

// New returns a Store that keeps what outlives the build as objects of a kind in st, and the rest in
// dir, which is the caller's; there it makes entries that begin with "l" and "t".
func New(st *state.Dir, kind, dir string, form Form) (*Store, error) {
	if err := os.Mkdir(filepath.Join(dir, "l"), 0o755); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	return &Store{state: st, kind: kind, dir: dir, form: form, lowers: map[key]*lower{}, names: map[*tree.Tree]string{}}, nil
}

// key identifies a directory that overlayfs can use as a lower one: a layer in its usual form;
// a layer as it must be on a certain tree; or, with no layer, a whole tree.
type key struct {
	layer layer.Layer
	on    bool
	tree  *tree.Tree
}

// lower is such a directory, made once; turn is held by whoever makes or looks at it.
type lower struct {
	turn chan struct{}
	name string // "" until it was made
}

// Stack makes what is missing of the layers of t, several at once, and returns the names of their
// directories relative to that of the Store, topmost first: short ones, because hundreds of them have
// to fit into the options of mount(2). They are not more than most, at least 1: of deeper trees, the lowest
// layers are joined. Of a tree without a visible layer there are none.
func (s *Store) Stack(ctx context.Context, t *tree.Tree, most int) ([]string, error) {
	if _, err := t.View(ctx); err != nil { // fetches what is missing, several at once
		return nil, err
	}
	stack, err := visible(ctx, t)
	if err != nil {
		return nil, err
	}
	rest := (*tree.Tree)(nil) // what is joined into one directory
	if n := flatLayers(len(stack), most); n > 0 {
		rest = stack[len(stack)-n]
		stack = stack[:len(stack)-n]
	}
	names := make([]string, len(stack))
	g, gctx := errgroup.WithContext(ctx)
	for i, sub := range stack {
		g.Go(func() (err error) {
			names[i], err = s.layerDir(gctx, sub)
			return err
		})
	}
	if rest != nil {
		var name string
		g.Go(func() (err error) {
			name, err = s.flatDir(gctx, rest)
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
	return names, nil
}

// flatLayers is how many of the lowest of n layers are to be joined so that no more than most directories
// are left. It divides deep stacks at places that stay the same while they grow.
func flatLayers(n, most int) int {
	if n <= most {
		return 0
	}
	extra := most - 1 // beside the joined ones
	step := max(1, most*4/5)
	return (n - extra + step - 1) / step * step
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
func (s *Store) layerDir(ctx context.Context, t *tree.Tree) (string, error) {
	s.mu.Lock()
	name, ok := s.names[t]
	s.mu.Unlock()
	if ok {
		return name, nil
	}
	name, err := s.findLayerDir(ctx, t)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[t] = name
	return name, nil
}

func (s *Store) findLayerDir(ctx context.Context, t *tree.Tree) (string, error) {
	l := t.Top()
	x, err := l.Index(ctx)
	if err != nil {
		return "", err
	}
	below, err := t.Parent().View(ctx)
	if err != nil {
		return "", err
	}
	k := key{layer: l}
	var tc *unpack.Context
	if !s.form.SelfContained(x, below) {
		merged, err := t.View(ctx)
		if err != nil {
			return "", err
		}
		k.on, k.tree = true, t.Parent()
		tc = &unpack.Context{Below: below, Merged: merged}
	}
	return s.lower(ctx, k, func(ctx context.Context) (string, error) {
		fill := func(ctx context.Context, dir string) error { return s.form.Layer(ctx, l, tc, dir) }
		name, err := persistentName(t, tc == nil)
		if err != nil {
			return "", err
		}
		if name == "" {
			return s.temporary(ctx, fill)
		}
		return s.state.Tree(ctx, s.kind, name+"-"+s.form.Variant(), fill)
	})
}

// flatDir returns the name of a directory that holds all of t.
func (s *Store) flatDir(ctx context.Context, t *tree.Tree) (string, error) {
	return s.lower(ctx, key{tree: t}, func(ctx context.Context) (string, error) {
		v, err := t.View(ctx)
		if err != nil {
			return "", err
		}
		return s.temporary(ctx, func(ctx context.Context, dir string) error { return s.form.View(ctx, v, dir) })
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

// temporary fills a directory that lives as long as the build.
func (s *Store) temporary(ctx context.Context, fill func(ctx context.Context, dir string) error) (string, error) {
	dir := filepath.Join(s.dir, "t"+s.id())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("isolation: %w", err)
	}
	return dir, fill(ctx, dir)
}

// lower returns the short name of the directory that k stands for, calling mk for its path
// if there is none yet. Of several callers one makes it; if it fails, the next one tries.
func (s *Store) lower(ctx context.Context, k key, mk func(context.Context) (path string, err error)) (string, error) {
	s.mu.Lock()
	l, ok := s.lowers[k]
	if !ok {
		l = &lower{turn: make(chan struct{}, 1)}
		s.lowers[k] = l
	}
	s.mu.Unlock()
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
	name, err := s.shorten(path)
	if err != nil {
		return "", err
	}
	l.name = name
	return name, nil
}

// Keep registers the directory that a layer already has.
func (s *Store) Keep(l layer.Layer, dir string) error {
	name, err := s.shorten(dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lowers[key{layer: l}] = &lower{turn: make(chan struct{}, 1), name: name}
	return nil
}

// shorten gives a directory a name relative to that of the Store that is short enough for hundreds of them
// to fit into the one page of options that mount(2) takes.
func (s *Store) shorten(path string) (string, error) {
	name := filepath.Join("l", s.id())
	if err := os.Symlink(path, filepath.Join(s.dir, name)); err != nil {
		return "", fmt.Errorf("isolation: %w", err)
	}
	return name, nil
}

// id gives names that are unique in this Store and short.
func (s *Store) id() string { return strconv.FormatUint(s.ids.Add(1), 36) }
