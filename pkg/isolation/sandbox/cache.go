package sandbox

import (
	"context"
	"errors"
	"os"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/hostdir"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// cache is a directory of the host on its way into a kernel and back. The process sees what was in it when
// the process was started, and the directory gets what that changed when it has ended.
type cache struct {
	root  *os.Root
	image string // name of the directory of its image
}

// openCache makes an image of the directory of a cache mount, and the tree that it is.
func (b *Backend) openCache(ctx context.Context, m *isolation.Mount) (_ *cache, _ *tree.Tree, err error) {
	err = host.FillCache(ctx, m, func(ctx context.Context, v *tree.View, dir string) error { return b.FillCache(ctx, v.Root(), dir) })
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(m.HostDir)
	if err != nil {
		return nil, nil, err
	}
	c := &cache{root: root, image: "c" + b.id()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close(b))
		}
	}()
	unlock, err := hostdir.Lock(root)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	l, err := hostdir.Read(root)
	if err != nil {
		return nil, nil, err
	}
	items, err := unpack.LayerItems(ctx, l, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(b.path(c.image), 0o700); err != nil {
		return nil, nil, err
	}
	return c, (*tree.Tree)(nil).Push(l), write(ctx, items, b.path(c.image))
}

// save changes the directory by what a process did.
func (c *cache) save(ctx context.Context, changes layer.Layer) (err error) {
	unlock, err := hostdir.Lock(c.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return hostdir.Apply(ctx, c.root, changes)
}

func (c *cache) close(b *Backend) error {
	return errors.Join(c.root.Close(), os.RemoveAll(b.path(c.image)))
}

var _ isolation.CacheFiller = (*Backend)(nil)

// FillCache implements [isolation.CacheFiller]: without privilege, owners are kept beside.
func (b *Backend) FillCache(ctx context.Context, n *tree.Node, dir string) error {
	return hostdir.Fill(ctx, n, dir)
}
