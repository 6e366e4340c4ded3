// Package upper reads the upper directory of an overlay mount as a layer: what a process
// changed, and nothing that only looks like a change.
package upper

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/difference"
	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Options of [Scan].
type Options struct {
	Xattrs overlay.Xattrs
	// NoDevices says that empty files stand for the devices of lower layers.
	NoDevices bool
}

// Scan returns the layer that the upper directory root is over the tree below. Nothing may
// change the directory any more. Sockets, which no layer can hold, are removed from it.
//
// Left out are copies that overlayfs made without anything being changed in the end,
// directories that were only passed through, and whiteouts of what was not there. The
// directories above a change are kept. The root itself is only listed if its owner, mode or
// attributes changed: its time changes with everything, and image tools do not record it.
func Scan(ctx context.Context, root *os.Root, below *tree.View, o Options) (layer.Layer, error) {
	dir, err := root.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	s := &scanner{Options: o, ctx: ctx, group: g}
	g.Go(func() error {
		defer dir.Close()
		return s.root(int(dir.Fd()), below.Root())
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	list := difference.List(s.found...)
	return layer.FromDirSeq(root, list.Len(), list.All())
}

// scanner collects what is found, from several goroutines.
type scanner struct {
	Options
	ctx   context.Context
	group *errgroup.Group

	mu    sync.Mutex
	found [][]difference.File // by directory: there may be very many, of which none is copied while others come
}

func (s *scanner) root(fd int, below *tree.Node) error {
	var st unix.Statx_t
	if err := stat(fd, "", &st); err != nil {
		return err
	}
	f, err := difference.DescribeUpper(fd, "", "", &st, s.Xattrs)
	if err != nil {
		return err
	}
	f.Root(below)
	s.add([]difference.File{f})
	return s.directory(fd, "", below)
}

// directory scans the open directory fd, which is at path. below is what the lower layers have
// there, nil if that is not a directory or hidden.
func (s *scanner) directory(fd int, path string, below *tree.Node) error {
	names, err := inode.Names(fd)
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	found := make([]difference.File, 0, len(names))
	for _, name := range names {
		if err := context.Cause(s.ctx); err != nil {
			return err
		}
		var lower *tree.Node
		if below != nil {
			lower, _ = below.Child(name)
		}
		p := name
		if path != "" {
			p = path + "/" + name
		}
		if found, err = s.object(found, fd, name, p, lower); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
	}
	s.add(found)
	return nil
}

// object scans name in the open directory dir, and appends it to found if it counts.
func (s *scanner) object(found []difference.File, dir int, name, p string, lower *tree.Node) ([]difference.File, error) {
	var st unix.Statx_t
	if err := stat(dir, name, &st); err != nil {
		return nil, err
	}
	kind := uint32(st.Mode) & unix.S_IFMT
	if kind == unix.S_IFSOCK {
		gone, err := removeSocket(dir, name, lower != nil)
		if err != nil || gone {
			return found, err
		}
		if err := stat(dir, name, &st); err != nil {
			return nil, err
		}
		kind = unix.S_IFCHR
	}
	if kind == unix.S_IFCHR && st.Rdev_major == 0 && st.Rdev_minor == 0 {
		if lower != nil {
			found = append(found, difference.Whiteout(p))
		}
		return found, nil
	}
	f, err := difference.DescribeUpper(dir, name, p, &st, s.Xattrs)
	if err != nil {
		return nil, err
	}
	if kind != unix.S_IFDIR {
		err := s.compare(dir, name, &f, lower)
		return append(found, f), err
	}
	visible := f.Directory(lower)
	return append(found, f), s.descend(dir, name, p, visible)
}

// descend scans a subdirectory, in a goroutine of its own while there are not too many.
func (s *scanner) descend(dir int, name, p string, below *tree.Node) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	scan := func() error {
		defer unix.Close(fd)
		return s.directory(fd, p, below)
	}
	if s.group.TryGo(scan) {
		return nil
	}
	return scan()
}

func (s *scanner) add(found []difference.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = append(s.found, found)
}

// compare finds out whether f, which is name in the open directory dir, is what the lower layers
// have there anyway: overlayfs copies a file up when it is opened for writing, touched
// with the same time, or given the owner that it has.
func (s *scanner) compare(dir int, name string, f *difference.File, lower *tree.Node) error {
	if lower == nil {
		return nil
	}
	e := lower.Entry()
	if s.NoDevices && f.Type == layer.Regular && f.Size == 0 && (e.Type == layer.CharDevice || e.Type == layer.BlockDevice) {
		f.Type, f.Major, f.Minor, f.Stamp = e.Type, e.Major, e.Minor, layer.Stamp{}
	}
	return f.Compare(s.ctx, dir, name, lower)
}

func stat(dir int, name string, st *unix.Statx_t) error {
	return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, st)
}

// removeSocket removes a socket from the upper directory, as if the process had done it before it
// ended: over something in a lower layer, which it had replaced, it leaves a whiteout.
func removeSocket(dir int, name string, over bool) (gone bool, err error) {
	return !over, rootpath.KeepTimes(dir, func() error {
		if err := unix.Unlinkat(dir, name, 0); err != nil || !over {
			return err
		}
		return unix.Mknodat(dir, name, unix.S_IFCHR, 0)
	})
}
