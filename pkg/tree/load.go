package tree

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/layer"
)

// maxIndexLoads is how many layers of one tree are indexed at the same time. It bounds open
// connections and decompressors, and is enough to fill both line and cores.
const maxIndexLoads = 8

// lazyView is the view of a tree, made when it is first asked for.
type lazyView struct {
	index shared[*layer.Index]

	mu   sync.Mutex
	view *View
}

// load makes the views of t and of all trees below it, as far as they are not there yet.
func (t *Tree) load(ctx context.Context) (*View, error) {
	if v := t.view.get(); v != nil {
		return v, nil
	}
	v := newEmptyView()
	var todo []*Tree // topmost first
	for at := t; at != nil; at = at.parent {
		if known := at.view.get(); known != nil {
			v = known
			break
		}
		todo = append(todo, at)
	}
	slices.Reverse(todo)
	indexes, err := loadIndexes(ctx, todo)
	if err != nil {
		return nil, err
	}
	for i, at := range todo {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if v, err = at.view.apply(v, at, indexes[i]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// loadIndexes returns the indexes of the topmost layers of trees, in their order.
func loadIndexes(ctx context.Context, trees []*Tree) ([]*layer.Index, error) {
	indexes := make([]*layer.Index, len(trees))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxIndexLoads)
	for i, t := range trees {
		group.Go(func() error {
			x, err := t.view.index.get(ctx, t.layer.Index)
			if err != nil {
				return fmt.Errorf("index of layer %d: %w", t.depth, err)
			}
			indexes[i] = x
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return indexes, nil
}

func (l *lazyView) get() *View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

// apply makes the view of t, whose parent has the view lower. Of callers that come at the same
// time, which get the same lower, one does the work and the others wait: it is brief and
// reads nothing.
func (l *lazyView) apply(lower *View, t *Tree, x *layer.Index) (*View, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view != nil {
		return l.view, nil
	}
	v, err := lower.apply(t.layer, x)
	if err != nil {
		return nil, fmt.Errorf("layer %d: %w", t.depth, err)
	}
	l.view = v
	return v, nil
}
