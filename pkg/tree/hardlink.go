package tree

import (
	"fmt"

	"github.com/slipway-build/slipway/pkg/layer"
)

// resolveLinks gives every hard link of the layer its inode.
func (a *applier) resolveLinks() error {
	for _, pos := range a.links {
		if err := a.resolveLink(pos); err != nil {
			return err
		}
	}
	return nil
}

// resolveLink follows the chain of links that starts with the entry at pos and gives all of
// them the inode at its end.
func (a *applier) resolveLink(pos int) error {
	name := a.index.At(pos).Path
	var chain []*Node
	var target *inode
	for target == nil {
		n, e := &a.records[pos].node, a.index.At(pos)
		if n.inode != nil { // no link, or one already resolved
			target = n.inode
			break
		}
		if chain = append(chain, n); len(chain) > len(a.links) {
			return fmt.Errorf("hard link %q leads back to itself", e.Path)
		}
		at, ok := a.index.Find(e.Link)
		if ok && a.index.At(at).Type != layer.Whiteout {
			pos = at
			continue
		}
		// Links on the way are followed as by the unpackers that link within a
		// merged root.
		lower, err := a.lower.LookupNoFollow(e.Link)
		if err != nil {
			return fmt.Errorf("hard link %q: target: %w", e.Path, err)
		}
		target = lower.inode
	}
	if target.entry.Type == layer.Directory {
		return fmt.Errorf("hard link %q: target %q is a directory", name, target.entry.Path)
	}
	if len(chain) > 0 {
		target.linked.Store(true)
	}
	for _, n := range chain {
		n.inode = target
	}
	return nil
}
