// Package upper reads the upper directory of an overlay mount as a layer: what a process
// changed, and nothing that only looks like a change.
package upper

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/namespace/internal/overlay"
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
	return layer.FromDir(root, s.result())
}

// scanner collects what is found, from several goroutines.
type scanner struct {
	Options
	ctx   context.Context
	group *errgroup.Group

	mu    sync.Mutex
	found []found
}

type inode struct{ dev, ino uint64 }

// found is one object of the upper directory.
type found struct {
	layer.DirFile
	inode inode
	nlink uint32
	// same says that a lower layer has the very same at this path.
	same bool
}

func (s *scanner) root(fd int, below *tree.Node) error {
	var st unix.Statx_t
	if err := stat(fd, "", &st); err != nil {
		return err
	}
	f, err := s.describe(fd, "", "", &st)
	if err != nil {
		return err
	}
	f.ModTime = below.Entry().ModTime
	f.Opaque = false
	f.same = sameMetadata(&f.Entry, below.Entry())
	s.add(f)
	return s.directory(fd, "", below)
}

// directory scans the open directory fd, which is at path. below is what the lower layers have
// there, nil if that is not a directory or hidden.
func (s *scanner) directory(fd int, path string, below *tree.Node) error {
	names, err := readNames(fd)
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
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
		if err := s.object(fd, name, p, lower); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
	}
	return nil
}

// object scans name in the open directory dir.
func (s *scanner) object(dir int, name, p string, lower *tree.Node) error {
	var st unix.Statx_t
	if err := stat(dir, name, &st); err != nil {
		return err
	}
	kind := uint32(st.Mode) & unix.S_IFMT
	if kind == unix.S_IFSOCK {
		gone, err := removeSocket(dir, name, lower != nil)
		if err != nil || gone {
			return err
		}
		if err := stat(dir, name, &st); err != nil {
			return err
		}
		kind = unix.S_IFCHR
	}
	if kind == unix.S_IFCHR && st.Rdev_major == 0 && st.Rdev_minor == 0 {
		if lower != nil {
			s.add(found{DirFile: layer.DirFile{Entry: layer.Entry{Path: p, Type: layer.Whiteout}}})
		}
		return nil
	}
	f, err := s.describe(dir, name, p, &st)
	if err != nil {
		return err
	}
	if kind != unix.S_IFDIR {
		if err := s.compare(dir, name, &f, lower); err != nil {
			return err
		}
		s.add(f)
		return nil
	}
	var visible *tree.Node // what of the lower directory shows through
	if lower != nil && lower.IsDir() {
		if !f.Opaque {
			visible = lower
		}
		f.Opaque = f.Opaque && lower.NumChildren() > 0
		f.same = !f.Opaque && sameMetadata(&f.Entry, lower.Entry())
	} else {
		f.Opaque = false // there is nothing to hide
	}
	s.add(f)
	return s.descend(dir, name, p, visible)
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

func (s *scanner) add(f found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = append(s.found, f)
}

// result puts what was found together: hard links are told from files, and what is
// unchanged is dropped.
func (s *scanner) result() []layer.DirFile {
	slices.SortFunc(s.found, func(a, b found) int { return layer.ComparePaths(a.Path, b.Path) })
	names := map[inode]int{} // how many names of a file are in the layer
	for i := range s.found {
		if f := &s.found[i]; f.nlink > 1 {
			names[f.inode]++
		}
	}
	first := map[inode]string{}
	for i := range s.found {
		f := &s.found[i]
		if f.nlink < 2 || names[f.inode] < 2 {
			continue
		}
		// Linking makes overlayfs copy a file up. It stays, although unchanged:
		// not every tool can link to a file of a lower layer.
		f.same = false
		target, ok := first[f.inode]
		if !ok {
			first[f.inode] = f.Path
			continue
		}
		f.Type, f.Link, f.Size, f.Xattrs = layer.Hardlink, target, 0, nil
		f.Stamp = layer.Stamp{}
	}
	return s.prune()
}

// prune drops what is the same as below, except directories in which something is not. In tree
// order, read backwards, a directory comes after everything in it.
func (s *scanner) prune() []layer.DirFile {
	var kept []layer.DirFile
	needed := map[string]bool{}
	for i := len(s.found) - 1; i >= 0; i-- {
		f := &s.found[i]
		if f.same && !needed[f.Path] {
			continue
		}
		if parent := parentOf(f.Path); parent != "" {
			needed[parent] = true
		}
		kept = append(kept, f.DirFile)
	}
	slices.Reverse(kept)
	return kept
}

func parentOf(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return ""
}

// describe makes the entry for an object from its status and attributes.
func (s *scanner) describe(dir int, name, p string, st *unix.Statx_t) (found, error) {
	f := found{inode: inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, nlink: st.Nlink}
	e := &f.Entry
	e.Path = p
	e.Mode = st.Mode & 0o7777
	e.UID, e.GID = st.Uid, st.Gid
	e.ModTime = time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)).UTC()
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = layer.Regular, int64(st.Size)
		f.Stamp = layer.Stamp{Dev: f.inode.dev, Ino: st.Ino, Size: e.Size, ModTime: e.ModTime.UnixNano()}
	case unix.S_IFDIR:
		e.Type = layer.Directory
		f.nlink = 1
	case unix.S_IFLNK:
		e.Type, e.Mode = layer.Symlink, 0o777
		link, err := readlink(dir, name)
		if err != nil {
			return f, err
		}
		e.Link = link
	case unix.S_IFIFO:
		e.Type = layer.Fifo
	case unix.S_IFCHR:
		e.Type, e.Major, e.Minor = layer.CharDevice, st.Rdev_major, st.Rdev_minor
	case unix.S_IFBLK:
		e.Type, e.Major, e.Minor = layer.BlockDevice, st.Rdev_major, st.Rdev_minor
	default:
		return f, fmt.Errorf("file of unknown kind %#o", st.Mode)
	}
	var err error
	e.Xattrs, e.Opaque, err = s.xattrs("/proc/self/fd/" + strconv.Itoa(dir) + "/" + name)
	return f, err
}

func stat(dir int, name string, st *unix.Statx_t) error {
	return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, st)
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	return string(buf[:max(n, 0)]), err
}

func readNames(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// removeSocket removes a socket from the upper directory, as if the process had done it before it
// ended: over something in a lower layer, which it had replaced, it leaves a whiteout.
func removeSocket(dir int, name string, over bool) (gone bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return false, err
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return false, err
	}
	if over {
		if err := unix.Mknodat(dir, name, unix.S_IFCHR, 0); err != nil {
			return false, err
		}
	}
	return !over, unix.UtimesNanoAt(dir, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}
