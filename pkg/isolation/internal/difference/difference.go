// Package difference tells what a process changed in a directory from what only looks like a change,
// and makes the entries of a layer of it. Where to look is the backends' affair.
package difference

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// File is a candidate for the layer.
type File struct {
	layer.DirFile
	Inode Inode
	Links uint32 // how many hard links it has; 1 for directories
	// Same says that the tree below has the very same at this path.
	Same bool
}

// Inode identifies a file, under whatever name.
type Inode struct{ Dev, Ino uint64 }

// Describe makes the candidate for name in the open directory dir, "" for the directory itself, from
// its status, link and those attributes that wanted accepts. path is its place in the layer.
// Sockets, which no layer can hold, are an error.
func Describe(dir int, name, path string, st *unix.Statx_t, wanted func(attribute string) bool) (File, error) {
	s, err := inode.Read(dir, name, st, wanted)
	if err != nil {
		return File{}, err
	}
	return Of(path, &s)
}

// DescribeUpper is Describe for what lies in the upper directory of an overlay mount, whose mark makes a
// directory opaque. Attributes that belong into no layer are left out.
func DescribeUpper(dir int, name, path string, st *unix.Statx_t, marks overlay.Xattrs) (File, error) {
	s, err := inode.Read(dir, name, st, xattr.Upper(marks))
	if err != nil {
		return File{}, err
	}
	return OfUpper(path, &s, marks)
}

// Of is Describe for a file whose status was read before.
func Of(path string, s *inode.Status) (File, error) {
	f := File{Inode: Inode{unix.Mkdev(s.Stat.Dev_major, s.Stat.Dev_minor), s.Stat.Ino}, Links: s.Stat.Nlink}
	e := &f.Entry
	e.Path, e.Mode, e.Xattrs = path, s.Stat.Mode&0o7777, s.Xattrs
	e.UID, e.GID = s.Stat.Uid, s.Stat.Gid
	e.ModTime = time.Unix(s.Stat.Mtime.Sec, int64(s.Stat.Mtime.Nsec)).UTC()
	switch s.Kind() {
	case unix.S_IFREG:
		e.Type, e.Size = layer.Regular, int64(s.Stat.Size)
		f.Stamp = layer.Stamp{Dev: f.Inode.Dev, Ino: s.Stat.Ino, Size: e.Size, ModTime: e.ModTime.UnixNano()}
	case unix.S_IFDIR:
		e.Type = layer.Directory
		f.Links = 1
	case unix.S_IFLNK:
		e.Type, e.Mode, e.Link = layer.Symlink, 0o777, s.Link
	case unix.S_IFIFO:
		e.Type = layer.Fifo
	case unix.S_IFCHR:
		e.Type, e.Major, e.Minor = layer.CharDevice, s.Stat.Rdev_major, s.Stat.Rdev_minor
	case unix.S_IFBLK:
		e.Type, e.Major, e.Minor = layer.BlockDevice, s.Stat.Rdev_major, s.Stat.Rdev_minor
	default:
		return f, fmt.Errorf("file of unknown kind %#o", s.Stat.Mode)
	}
	return f, nil
}

// OfUpper is DescribeUpper for a file whose status was read before.
func OfUpper(path string, s *inode.Status, marks overlay.Xattrs) (File, error) {
	f, err := Of(path, s)
	opaque := marks.Opaque()
	f.Opaque = f.Xattrs[opaque] == "y"
	delete(f.Xattrs, opaque)
	if len(f.Xattrs) == 0 {
		f.Xattrs = nil
	}
	return f, err
}

// Whiteout is the candidate that removes what the tree below has at a path.
func Whiteout(path string) File {
	return File{DirFile: layer.DirFile{Entry: layer.Entry{Path: path, Type: layer.Whiteout}}}
}

// Root settles what f, the root of an upper directory, changes of that of the tree below: never its time,
// which changes with everything, and image tools do not record it.
func (f *File) Root(below *tree.Node) {
	f.ModTime, f.Opaque = below.Entry().ModTime, false
	f.Same = SameMetadata(&f.Entry, below.Entry())
}

// Directory settles what f, a directory in an upper one, changes of lower, which the tree below has there,
// nil for nothing. It returns what of that shows through.
func (f *File) Directory(lower *tree.Node) (visible *tree.Node) {
	if lower == nil || !lower.IsDir() {
		f.Opaque = false // there is nothing to hide
		return nil
	}
	if !f.Opaque {
		visible = lower
	}
	f.Opaque = f.Opaque && lower.NumChildren() > 0
	f.Same = !f.Opaque && SameMetadata(&f.Entry, lower.Entry())
	return visible
}
