package hostdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/stream"
)

// temporary is the name of a file that is being written, in the directory that it will be in.
const temporary = ".slipway-being-written"

// Apply changes the directory by a layer. Files appear as a whole. Devices are left out.
func Apply(ctx context.Context, root *os.Root, l layer.Layer) error {
	x, err := l.Index(ctx)
	if err != nil {
		return err
	}
	a := applier{ctx: ctx, root: root, layer: l}
	var dirs []*layer.Entry
	for e := range x.All() {
		if err := a.entry(e); err != nil {
			return fmt.Errorf("changing %s: /%s: %w", root.Name(), e.Path, err)
		}
		if e.Type == layer.Directory {
			dirs = append(dirs, e)
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- { // what is made in a directory changes its time
		if err := a.attributes(name(dirs[i]), dirs[i]); err != nil {
			return fmt.Errorf("changing %s: /%s: %w", root.Name(), dirs[i].Path, err)
		}
	}
	return nil
}

type applier struct {
	ctx   context.Context
	root  *os.Root
	layer layer.Layer
}

func name(e *layer.Entry) string {
	if e.Path == "" {
		return "."
	}
	return e.Path
}

func (a *applier) entry(e *layer.Entry) error {
	p := name(e)
	switch e.Type {
	case layer.Whiteout:
		return a.root.RemoveAll(p)
	case layer.Directory:
		return a.directory(p, e)
	case layer.CharDevice, layer.BlockDevice:
		return nil
	}
	if info, err := a.root.Lstat(p); err == nil && info.IsDir() {
		if err := a.root.RemoveAll(p); err != nil {
			return err
		}
	}
	tmp := path.Join(path.Dir(p), temporary)
	if err := a.root.RemoveAll(tmp); err != nil { // of a build that was killed
		return err
	}
	if err := a.file(tmp, e); err != nil {
		return err
	}
	return a.root.Rename(tmp, p)
}

func (a *applier) directory(p string, e *layer.Entry) error {
	info, err := a.root.Lstat(p)
	switch {
	case err == nil && info.IsDir() && !e.Opaque:
		return a.root.Chmod(p, info.Mode().Perm()|0o700) // until attributes
	case err == nil && p == ".":
		return a.empty()
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := a.root.RemoveAll(p); err != nil {
		return err
	}
	return a.root.Mkdir(p, 0o700)
}

// empty removes everything in the directory itself.
func (a *applier) empty() error {
	dir, err := a.root.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, n := range names {
		if err := a.root.RemoveAll(n); err != nil {
			return err
		}
	}
	return nil
}

// file makes anything but a directory at a path where nothing is.
func (a *applier) file(p string, e *layer.Entry) error {
	switch e.Type {
	case layer.Symlink:
		if err := a.root.Symlink(e.Link, p); err != nil {
			return err
		}
		return a.node(p, e)
	case layer.Hardlink:
		return a.root.Link(e.Link, p)
	case layer.Fifo:
		if err := a.in(p, func(dir int, name string) error { return unix.Mkfifoat(dir, name, uint32(e.Mode)&0o777) }); err != nil {
			return &os.PathError{Op: "mkfifo", Path: p, Err: err}
		}
		return a.node(p, e)
	}
	if err := a.content(p, e); err != nil {
		return err
	}
	return a.attributes(p, e)
}

// in calls f with the open directory in which the file at a path is, and the file's name in it.
func (a *applier) in(p string, f func(dir int, name string) error) error {
	dir, err := a.root.Open(path.Dir(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(int(dir.Fd()), path.Base(p))
}

// node gives owner and time to what cannot be opened.
func (a *applier) node(p string, e *layer.Entry) error {
	if err := ignoreRefusal(a.root.Lchown(p, int(e.UID), int(e.GID))); err != nil {
		return err
	}
	at := unix.NsecToTimespec(e.ModTime.UnixNano())
	err := a.in(p, func(dir int, name string) error {
		return unix.UtimesNanoAt(dir, name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return &os.PathError{Op: "utimensat", Path: p, Err: err}
	}
	return nil
}

func (a *applier) content(p string, e *layer.Entry) (err error) {
	in, err := a.layer.Open(a.ctx, e.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := a.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, stream.Reader(a.ctx, in))
	return err
}

// attributes gives a file or directory what e says. The builder stays able to read and change it.
func (a *applier) attributes(p string, e *layer.Entry) error {
	f, err := a.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	chownErr := unix.Fchown(fd, int(e.UID), int(e.GID))
	if err := ignoreRefusal(chownErr); err != nil {
		return &os.PathError{Op: "chown", Path: p, Err: err}
	}
	mode, uid := uint32(e.Mode), uint32(os.Geteuid())
	beside := chownErr != nil || uid != 0 && e.UID == uid // which would be read as root's
	if uid != 0 {
		mode = mode&0o777 | 0o600
		if e.Type == layer.Directory {
			mode |= 0o700
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: p, Err: err}
	}
	if err := a.extended(fd, e, beside || mode != uint32(e.Mode)); err != nil {
		return &os.PathError{Op: "setxattr", Path: p, Err: err}
	}
	return a.root.Chtimes(p, e.ModTime, e.ModTime)
}

// extended sets extended attributes; beside says that owner or mode are not the right ones. Where the
// filesystem has none, or forbids one, files do without.
func (a *applier) extended(fd int, e *layer.Entry, beside bool) error {
	for n, value := range e.Xattrs {
		if err := ignoreRefusal(unix.Fsetxattr(fd, n, []byte(value), 0)); err != nil {
			return err
		}
	}
	if beside {
		return ignoreRefusal(unix.Fsetxattr(fd, override, []byte(formatOverride(e)), 0))
	}
	if err := unix.Fremovexattr(fd, override); err != nil && err != unix.ENODATA {
		return ignoreRefusal(err)
	}
	return nil
}

// ignoreRefusal takes it as done what only privilege, or another filesystem, could do.
func ignoreRefusal(err error) error {
	for _, refusal := range []error{unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP} {
		if errors.Is(err, refusal) {
			return nil
		}
	}
	return err
}
