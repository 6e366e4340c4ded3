package scan

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/difference"
	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Changes lists what makes the tree below, of which before was taken, into what the
// directory holds now, of which after was taken. Sources are the paths in the directory.
// Sockets, which no layer can hold, are removed from it.
//
// A file is listed if something about it is different in the end, not merely because it
// was written; so is the directory above, but not for its size or for what moving the file
// that holds it did to its times. A directory that was removed and made again is opaque. Of the root
// itself the time does not count.
func Changes(ctx context.Context, dir *os.Root, before, after *Snapshot, below *tree.View) (*difference.Listing, error) {
	d, err := dir.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	defer d.Close()
	f := &finder{ctx: ctx}
	if err := f.top(int(d.Fd()), &before.root, &after.root, below.Root()); err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	return f.result(), nil
}

type finder struct {
	ctx   context.Context
	found [][]difference.File // in pieces: of very many, none is copied while others come
	count int
}

// piece is how many files a piece has.
const piece = 1024

func (f *finder) add(found difference.File) {
	last := len(f.found) - 1
	if last < 0 || len(f.found[last]) == piece {
		f.found = append(f.found, nil)
		last++
	}
	f.found[last] = append(f.found[last], found)
	f.count++
}

func (f *finder) top(fd int, before, after *record, below *tree.Node) error {
	root, err := describe(fd, "", "", after)
	if err != nil {
		return err
	}
	root.ModTime = below.Entry().ModTime
	root.Same = difference.SameMetadata(&root.Entry, below.Entry())
	f.add(root)
	_, err = f.directory(fd, "", before, after, below)
	return err
}

// directory compares the content of the open directory fd at path. before is what was there, and
// below what the tree has there; both nil if the directory is a new one. It reports whether
// there are candidates in it.
func (f *finder) directory(fd int, path string, before, after *record, below *tree.Node) (bool, error) {
	if err := context.Cause(f.ctx); err != nil {
		return false, err
	}
	count := f.count
	children := after.list()
	for i := range children {
		a := &children[i]
		var b *record
		if before != nil {
			b = before.child(a.name)
		}
		var lower *tree.Node
		if below != nil {
			lower, _ = below.Child(a.name)
		}
		p := join(path, a.name)
		var err error
		if a.isDir() {
			err = f.subdirectory(fd, p, b, a, lower)
		} else if b == nil || a.stat != b.stat {
			err = f.object(fd, p, a, lower)
		}
		if err != nil {
			return false, fmt.Errorf("/%s: %w", p, err)
		}
	}
	if before != nil && below != nil {
		f.removed(path, before, after, below)
	}
	return f.count > count, nil
}

// removed lists what is gone.
func (f *finder) removed(path string, before, after *record, below *tree.Node) {
	for _, was := range before.list() {
		name := was.name
		if a := after.child(name); a != nil && a.kind() != unix.S_IFSOCK {
			continue
		}
		if _, ok := below.Child(name); ok {
			f.add(difference.Whiteout(join(path, name)))
		}
	}
}

// object looks closer at something that is not a directory.
func (f *finder) object(dir int, p string, a *record, lower *tree.Node) error {
	if a.kind() == unix.S_IFSOCK {
		return removeSocket(dir, a.name)
	}
	c, err := describe(dir, a.name, p, a)
	if err != nil {
		return err
	}
	if err := c.Compare(f.ctx, dir, a.name, lower); err != nil {
		return err
	}
	f.add(c)
	return nil
}

func (f *finder) subdirectory(dir int, p string, b, a *record, lower *tree.Node) error {
	kept := b != nil && b.isDir() && a.sameObject(b) && lower != nil && lower.IsDir()
	fd, err := unix.Openat(dir, a.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var changed bool
	if kept {
		changed, err = f.directory(fd, p, b, a, lower)
	} else {
		changed, err = f.directory(fd, p, nil, a, nil)
	}
	if err != nil || kept && !changed && a.stat == b.stat {
		return err
	}
	c, err := describe(dir, a.name, p, a)
	if err != nil {
		return err
	}
	c.Opaque = !kept && lower != nil && lower.IsDir() && lower.NumChildren() > 0
	c.Same = !c.Opaque && lower != nil && lower.IsDir() && difference.SameMetadata(&c.Entry, lower.Entry())
	f.add(c)
	return nil
}

// result puts the candidates together.
func (f *finder) result() *difference.Listing {
	changed := map[difference.Inode]bool{} // files of which at least one name is new or different
	for _, piece := range f.found {
		for i := range piece {
			if c := &piece[i]; c.Links > 1 && !c.Same {
				changed[c.Inode] = true
			}
		}
	}
	// The names of other files are the tree's own, also where there are several.
	for _, piece := range f.found {
		for i := range piece {
			if c := &piece[i]; !changed[c.Inode] {
				c.Links = 1
			}
		}
	}
	return difference.List(f.found...)
}

func describe(dir int, name, p string, r *record) (difference.File, error) {
	return difference.Describe(dir, name, p, r.stat.statx(), xattr.Portable)
}

func removeSocket(dir int, name string) error {
	return rootpath.KeepTimes(dir, func() error { return unix.Unlinkat(dir, name, 0) })
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
