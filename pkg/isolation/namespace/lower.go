package namespace

import (
	"context"
	"os"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// formatVersion is part of the name of everything unpacked that outlives a build. It changes
// with the form.
const formatVersion = "1"

// form is that of a layer whose files lie in a directory. It implements lowers.Form.
type form struct {
	*unpack.Unpacker
	mode mode
}

// Variant tells apart the ways in which a layer can be unpacked.
func (f form) Variant() string {
	v := "user"
	if f.mode.xattrs == overlay.Trusted {
		v = "trusted"
	}
	if f.mode.noDevices {
		v += "-nodev"
	}
	return v + "-v" + formatVersion
}

// SelfContained implements lowers.Form.
func (f form) SelfContained(x *layer.Index, below *tree.View) bool {
	return unpack.SelfContained(x, below)
}

// materialize returns the directories that make up t, topmost first.
func (b *Backend) materialize(ctx context.Context, t *tree.Tree) ([]string, error) {
	names, err := b.lowers.Stack(ctx, t, overlay.MaxLowers)
	if err == nil && len(names) == 0 {
		names = []string{emptyLower}
	}
	return names, err
}

// keep registers an upper directory as the lower one of the layer that it has become.
func (b *Backend) keep(l layer.Layer, root *os.Root) error {
	if err := b.lowers.Keep(l, root.Name()); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.roots = append(b.roots, root)
	return nil
}
