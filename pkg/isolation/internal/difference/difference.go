// Package difference tells what a process changed in a directory from what only looks like a change,
// and makes the entries of a layer of it. Where to look is the backends' affair.
package difference

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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
	f := File{Inode: Inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, Links: st.Nlink}
	e := &f.Entry
	e.Path, e.Mode = path, st.Mode&0o7777
	e.UID, e.GID = st.Uid, st.Gid
	e.ModTime = time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)).UTC()
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = layer.Regular, int64(st.Size)
		f.Stamp = layer.Stamp{Dev: f.Inode.Dev, Ino: st.Ino, Size: e.Size, ModTime: e.ModTime.UnixNano()}
	case unix.S_IFDIR:
		e.Type = layer.Directory
		f.Links = 1
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
	e.Xattrs, err = xattr.Read("/proc/self/fd/"+strconv.Itoa(dir)+"/"+name, wanted)
	return f, err
}

// DescribeUpper is Describe for what lies in the upper directory of an overlay mount, whose mark makes a
// directory opaque. Attributes that belong into no layer are left out.
func DescribeUpper(dir int, name, path string, st *unix.Statx_t, marks overlay.Xattrs) (File, error) {
	opaque := marks.Opaque()
	f, err := Describe(dir, name, path, st, func(attribute string) bool {
		return attribute == opaque || xattr.Portable(attribute)
	})
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

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	return string(buf[:max(n, 0)]), err
}

// Names lists the open directory fd, in no order, from where it was read last.
func Names(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, os.NewSyscallError("getdents", err)
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Children calls do for everything in a directory, which is name in the open directory dir, or dir itself if
// name is "". path is its place in the layer, as those that do gets are of what is in it.
func Children(dir int, name, path string, do func(dir int, name, path string) error) error {
	fd := dir
	if name != "" {
		var err error
		if fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("/%s: %w", path, err)
		}
		defer unix.Close(fd)
		path += "/"
	}
	names, err := Names(fd)
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	for _, name := range names {
		if err := do(fd, name, path+name); err != nil {
			return err
		}
	}
	return nil
}

// Entries makes entries of a layer of the candidates, in tree order: hard links are told from files,
// and what is the same is dropped, except directories in which something is not. A file that has
// several names here stays, although the same: not every tool can link to a file of a
// lower layer. It changes files.
func Entries(files []File) []layer.DirFile {
	slices.SortFunc(files, func(a, b File) int { return layer.ComparePaths(a.Path, b.Path) })
	names := map[Inode]int{} // how many names of a file there are
	for i := range files {
		if f := &files[i]; f.Links > 1 {
			names[f.Inode]++
		}
	}
	first := map[Inode]string{}
	for i := range files {
		f := &files[i]
		if f.Links < 2 || names[f.Inode] < 2 {
			continue
		}
		f.Same = false
		target, ok := first[f.Inode]
		if !ok {
			first[f.Inode] = f.Path
			continue
		}
		f.Type, f.Link, f.Size, f.Xattrs = layer.Hardlink, target, 0, nil
		f.Stamp = layer.Stamp{}
	}
	return prune(files)
}

// prune drops what is the same. In tree order, read backwards, a directory comes after everything
// in it.
func prune(files []File) []layer.DirFile {
	var kept []layer.DirFile
	needed := map[string]bool{}
	for i := len(files) - 1; i >= 0; i-- {
		f := &files[i]
		if f.Same && !needed[f.Path] {
			continue
		}
		if i := strings.LastIndexByte(f.Path, '/'); i > 0 {
			needed[f.Path[:i]] = true
		}
		kept = append(kept, f.DirFile)
	}
	slices.Reverse(kept)
	return kept
}
