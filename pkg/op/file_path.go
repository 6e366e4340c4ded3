package op

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links a path may lead through, as in containerd's RootPath.
const maxLinks = 255

// NotFoundError says that a source path does not exist. It matches fs.ErrNotExist and
// reads as BuildKit's does, by which people look for it.
type NotFoundError struct {
	Path string
	In   string // what it was looked for in, as Input.Name; "" if that has no name
}

// Error implements error.
func (e *NotFoundError) Error() string {
	if e.In == "" {
		return fmt.Sprintf("%q: not found", e.Path)
	}
	return fmt.Sprintf("failed to compute cache key: failed to calculate checksum of ref %s: %q: not found", e.In, e.Path)
}

// Is implements errors.Is.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// rootPath follows all symbolic links of p, whose targets are taken as paths inside of the
// draft: no path leads out of it. The result is absolute and clean; what does not exist is
// taken literally. Like containerd's RootPath, which BuildKit resolves every destination
// with, it cleans ".." out of a link's target before it looks at what stands before.
func (d *draft) rootPath(p string) (string, error) {
	rest := path.Join("/", p)
	for links := 0; ; links++ {
		if links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: p, Err: syscall.ELOOP}
		}
		next, again, err := d.followFirst(rest)
		if err != nil || !again {
			return next, err
		}
		rest = next
	}
}

// followFirst replaces the first symbolic link in p, which is absolute and clean, by its
// target. It reports whether there was one.
func (d *draft) followFirst(p string) (string, bool, error) {
	dir, at := d.root, "/"
	for rest := p[1:]; rest != ""; {
		if !dir.isDir() {
			return "", false, &fs.PathError{Op: "lstat", Path: p, Err: syscall.ENOTDIR}
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		ino := d.child(dir, name)
		if ino == nil {
			break
		}
		if ino.isSymlink() {
			target := ino.meta.Link
			if !path.IsAbs(target) {
				target = path.Join(at, target)
			}
			return path.Join("/", target, rest), true, nil
		}
		dir, at = ino, path.Join(at, name)
	}
	return p, false, nil
}

// sourcePath is rootPath, or rootPath of all but the last component.
func (d *draft) sourcePath(p string, followLast bool) (string, error) {
	p = path.Join("/", p)
	if followLast || p == "/" {
		return d.rootPath(p)
	}
	dir, err := d.rootPath(path.Dir(p))
	if err != nil {
		return "", err
	}
	return path.Join(dir, path.Base(p)), nil
}

// place is where a file is or could be: a name in a directory that exists. The root directory
// has a nil dir.
type place struct {
	dir  *inode
	name string
	path string // absolute, for messages
}

func (p place) join(dir *inode, name string) place {
	return place{dir: dir, name: name, path: path.Join(p.path, name)}
}

// at returns the file at a place, nil if there is none.
func (d *draft) at(p place) *inode {
	if p.dir == nil {
		return d.root
	}
	return d.child(p.dir, p.name)
}

// place finds the place of p, absolute and clean, without following links. The directory that
// it lies in must exist; if not, the error says that op failed.
func (d *draft) place(op, p string) (place, error) {
	if p == "/" {
		return place{path: "/"}, nil
	}
	dir, err := d.lstat(path.Dir(p))
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return place{}, &fs.PathError{Op: op, Path: p, Err: err}
	}
	return place{dir: dir, name: path.Base(p), path: p}, nil
}

// lstat returns the file at p, absolute and clean, without following links.
func (d *draft) lstat(p string) (*inode, error) {
	ino := d.root
	for rest := p[1:]; rest != ""; {
		if !ino.isDir() {
			return nil, &fs.PathError{Op: "lstat", Path: p, Err: syscall.ENOTDIR}
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if ino = d.child(ino, name); ino == nil {
			return nil, &fs.PathError{Op: "lstat", Path: p, Err: syscall.ENOENT}
		}
	}
	return ino, nil
}
