package op

import (
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/pkg/layer"
)

// maxKernelLinks is how many symbolic links Linux follows for one path (path_resolution(7)).
const maxKernelLinks = 40

// jail resolves paths as Linux does for a process that is chrooted to a directory of a draft:
// no path leads out of it. Archives are unpacked in one.
type jail struct {
	d    *draft
	root *inode
}

// spot is a name in a jail. The root of the jail has a nil dir.
type spot struct {
	dir  *inode
	name string
	ino  *inode // nil if nothing has the name
}

// find returns the spot of a path, whose last component is followed if it is a symbolic link
// and last is set. All other components must exist.
func (j jail) find(p string, last bool) (spot, error) {
	fail := func(err error) (spot, error) {
		return spot{}, &fs.PathError{Op: "resolve", Path: p, Err: err}
	}
	trail := []spot{{ino: j.root}} // directories from the root to where we are
	links := 0
	for rest := p; ; {
		rest = strings.TrimLeft(rest, "/")
		here := trail[len(trail)-1]
		if rest == "" {
			return here, nil
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case ".":
			continue
		case "..":
			trail = trail[:max(len(trail)-1, 1)]
			continue
		}
		final := strings.Trim(rest, "/") == ""
		next := spot{dir: here.ino, name: name, ino: j.d.child(here.ino, name)}
		switch {
		case next.ino == nil && final:
			return next, nil
		case next.ino == nil:
			return fail(syscall.ENOENT)
		case next.ino.isSymlink() && (!final || last):
			if links++; links > maxKernelLinks {
				return fail(syscall.ELOOP)
			}
			target := next.ino.meta.Link
			if path.IsAbs(target) {
				trail = trail[:1]
			}
			rest = target + "/" + rest
		case next.ino.isDir():
			trail = append(trail, next)
		case final:
			return next, nil
		default:
			return fail(syscall.ENOTDIR)
		}
	}
}

// mkdirAll makes a directory with mode 0755 and owner root, and its missing parents. Links to
// directories stand for them.
func (j jail) mkdirAll(p string) error {
	fail := func(err error) error { return &fs.PathError{Op: "mkdir", Path: p, Err: err} }
	at, err := j.find(p, true)
	switch {
	case err == nil && at.ino != nil && at.ino.isDir():
		return nil
	case err == nil && at.ino != nil:
		return fail(syscall.ENOTDIR)
	case err != nil && !isNotExist(err):
		return err
	}
	if err := j.mkdirAll(path.Dir(p)); err != nil {
		return err
	}
	if at, err = j.find(p, false); err != nil {
		return err
	}
	if at.ino != nil {
		return fail(syscall.EEXIST) // a link to nowhere
	}
	j.d.make(at.dir, at.name, layer.Entry{Type: layer.Directory, Mode: 0o755}).setOwner(&ids{})
	return nil
}
