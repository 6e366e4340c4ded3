package op

import (
	"context"

	"github.com/slipway-build/slipway/pkg/tree"
)

// Merge stacks its inputs, first one lowest: COPY --link. The layers of the inputs are
// taken as they are, which is what lets a linked layer be reused on another base.
type Merge struct{}

// Key implements Op: a merge is what its inputs are.
func (*Merge) Key(ctx context.Context, _ *Env, in []Input) (Key, error) {
	h := newKey("merge").int(int64(len(in)))
	for _, i := range in {
		k, err := i.Key(ctx)
		if err != nil {
			return Key{}, err
		}
		h.key(k)
	}
	return h.sum(), nil
}

// Run implements Op.
func (*Merge) Run(_ context.Context, _ *Env, in []Input) ([]*tree.Tree, error) {
	if len(in) == 0 {
		return []*tree.Tree{nil}, nil
	}
	merged := in[0].Tree
	for _, i := range in[1:] {
		for _, l := range i.Tree.Layers() {
			merged = merged.Push(l)
		}
	}
	return []*tree.Tree{merged}, nil
}
