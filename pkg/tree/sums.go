package tree

import (
	"context"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/layer"
)

// loadSums computes the content sums of nodes, as many at a time as there are cores.
func loadSums(ctx context.Context, nodes iter.Seq[*Node]) error {
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for n := range nodes {
		if running.Err() != nil {
			break
		}
		group.Go(func() error {
			_, err := n.Sum(running)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// needsSum reports whether n is a regular file whose sum must be computed.
func (n *Node) needsSum() bool {
	e := n.inode.entry
	return e.Type == layer.Regular && e.Sum.IsZero()
}

// unsummed yields the regular files at and below n whose sum may have to be computed.
func (n *Node) unsummed(yield func(*Node) bool) {
	n.yieldUnsummed(yield)
}

func (n *Node) yieldUnsummed(yield func(*Node) bool) bool {
	if n.dir == nil {
		return !n.needsSum() || yield(n)
	}
	if n.dir.digested() {
		return true
	}
	for _, c := range n.dir.children {
		if !c.yieldUnsummed(yield) {
			return false
		}
	}
	return true
}

// digested reports whether the directory has a digest, for which all sums below were needed.
func (d *directory) digested() bool {
	for i := range d.digests {
		if d.digests[i].Load() != nil {
			return true
		}
	}
	return false
}
