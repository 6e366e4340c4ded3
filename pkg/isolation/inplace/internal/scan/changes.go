package scan

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Changes lists, in tree order, what makes the tree below, of which before was taken, into what the
// directory holds now, of which after was taken. Sources are the paths in the directory.
// Sockets, which no layer can hold, are removed from it.
//
// A file is listed if something about it is different in the end, not merely because it
// was written; so is the directory above, but not for its size or for what moving the file
// that holds it did to its times. A directory that was removed and made again is opaque. Of the root
// itself the time does not count.
func Changes(ctx context.Context, dir *os.Root, before, after *Snapshot, below *tree.View) ([]layer.DirFile, error) {
	d, err := dir.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	defer d.Close()
	f := &finder{ctx: ctx, root: dir}
	if err := f.top(int(d.Fd()), &before.root, &after.root, below.Root()); err != nil {
		return nil, fmt.Errorf("reading the changes: %w", err)
	}
	return f.result(), nil
}

type finder struct {
	ctx   context.Context
	root  *os.Root
	found []found
}

type inode struct {
	major, minor uint32
	ino          uint64
}

// found is one candidate.
type found struct {
	layer.DirFile
	inode inode
	nlink uint32
	// same says that the tree has the very same at this path.
	same bool
}

func (f *finder) top(fd int, before, after *record, below *tree.Node) error {
	root, err := f.describe(fd, "", "", after)
	if err != nil {
		return err
	}
	root.ModTime = below.Entry().ModTime
	root.same = sameMetadata(&root.Entry, below.Entry())
	f.found = append(f.found, root)
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
	count := len(f.found)
	for i := range after.children {
		a := &after.children[i]
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
	return len(f.found) > count, nil
}

// removed lists what is gone.
func (f *finder) removed(path string, before, after *record, below *tree.Node) {
	for i := range before.children {
		name := before.children[i].name
		if a := after.child(name); a != nil && a.kind() != unix.S_IFSOCK {
			continue
		}
		if _, ok := below.Child(name); ok {
			f.found = append(f.found, found{DirFile: layer.DirFile{Entry: layer.Entry{Path: join(path, name), Type: layer.Whiteout}}})
		}
	}
}

// object looks closer at something that is not a directory.
func (f *finder) object(dir int, p string, a *record, lower *tree.Node) error {
	if a.kind() == unix.S_IFSOCK {
		return removeSocket(dir, a.name)
	}
	c, err := f.describe(dir, a.name, p, a)
	if err != nil {
		return err
	}
	if lower != nil && sameMetadata(&c.Entry, lower.Entry()) {
		c.same = true
		if c.Type == layer.Regular && c.Size > 0 {
			if c.same, err = f.sameContent(p, lower); err != nil {
				return err
			}
		}
	}
	f.found = append(f.found, c)
	return nil
}

func (f *finder) sameContent(p string, lower *tree.Node) (bool, error) {
	file, err := f.root.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer file.Close()
	content, err := lower.Open(f.ctx)
	if err != nil {
		return false, err
	}
	defer content.Close()
	return sameBytes(file, content)
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
	c, err := f.describe(dir, a.name, p, a)
	if err != nil {
		return err
	}
	c.Opaque = !kept && lower != nil && lower.IsDir() && lower.NumChildren() > 0
	c.same = !c.Opaque && lower != nil && lower.IsDir() && sameMetadata(&c.Entry, lower.Entry())
	f.found = append(f.found, c)
	return nil
}

// result puts the candidates together: hard links are told from files, and what is unchanged is
// dropped.
func (f *finder) result() []layer.DirFile {
	slices.SortFunc(f.found, func(a, b found) int { return layer.ComparePaths(a.Path, b.Path) })
	names := map[inode]int{}
	for i := range f.found {
		if c := &f.found[i]; c.nlink > 1 {
			names[c.inode]++
		}
	}
	first := map[inode]string{}
	changed := f.changedInodes()
	for i := range f.found {
		c := &f.found[i]
		if c.nlink < 2 || names[c.inode] < 2 || !changed[c.inode] {
			continue
		}
		// A file that got another name stays, although unchanged: not every tool can
		// link to a file of a lower layer.
		c.same = false
		target, ok := first[c.inode]
		if !ok {
			first[c.inode] = c.Path
			continue
		}
		c.Type, c.Link, c.Size, c.Xattrs = layer.Hardlink, target, 0, nil
		c.Stamp = layer.Stamp{}
	}
	return f.prune()
}

// changedInodes are the files of which at least one name is new or different.
func (f *finder) changedInodes() map[inode]bool {
	set := map[inode]bool{}
	for i := range f.found {
		if c := &f.found[i]; c.nlink > 1 && !c.same {
			set[c.inode] = true
		}
	}
	return set
}

// prune drops what is the same, except directories in which something is not.
func (f *finder) prune() []layer.DirFile {
	var kept []layer.DirFile
	needed := map[string]bool{}
	for i := len(f.found) - 1; i >= 0; i-- {
		c := &f.found[i]
		if c.same && !needed[c.Path] {
			continue
		}
		if parent := parentOf(c.Path); parent != "" {
			needed[parent] = true
		}
		kept = append(kept, c.DirFile)
	}
	slices.Reverse(kept)
	return kept
}

// describe makes the entry for a file from its record, link and attributes.
func (f *finder) describe(dir int, name, p string, r *record) (found, error) {
	st := &r.stat
	c := found{inode: inode{st.devMajor, st.devMinor, st.ino}, nlink: st.nlink}
	e := &c.Entry
	e.Path, e.Mode = p, st.mode&0o7777
	e.UID, e.GID = st.uid, st.gid
	e.ModTime = time.Unix(st.mtime.Sec, int64(st.mtime.Nsec)).UTC()
	switch r.kind() {
	case unix.S_IFREG:
		e.Type, e.Size = layer.Regular, int64(st.size)
		c.Stamp = layer.Stamp{Dev: unix.Mkdev(st.devMajor, st.devMinor), Ino: st.ino, Size: e.Size, ModTime: e.ModTime.UnixNano()}
	case unix.S_IFDIR:
		e.Type = layer.Directory
		c.nlink = 1
	case unix.S_IFLNK:
		e.Type, e.Mode = layer.Symlink, 0o777
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return c, err
		}
		e.Link = string(buf[:n])
	case unix.S_IFIFO:
		e.Type = layer.Fifo
	case unix.S_IFCHR:
		e.Type, e.Major, e.Minor = layer.CharDevice, st.rdevMajor, st.rdevMinor
	case unix.S_IFBLK:
		e.Type, e.Major, e.Minor = layer.BlockDevice, st.rdevMajor, st.rdevMinor
	default:
		return c, fmt.Errorf("file of unknown kind %#o", st.mode)
	}
	var err error
	e.Xattrs, err = attributes("/proc/self/fd/" + strconv.Itoa(dir) + "/" + name)
	return c, err
}

func removeSocket(dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func parentOf(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return ""
}
