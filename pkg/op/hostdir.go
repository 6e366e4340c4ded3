package op

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
)

// hostDir lists a directory of the host for fsutil's filters. Unlike fsutil's own it keeps a stamp of
// each file, by which a later change is noticed. It is for one walk at a time.
type hostDir struct {
	path   string
	stamps map[string]layer.Stamp // by path below the directory
	inodes map[inodeID]string     // the first name met of each file with several
}

type inodeID struct{ dev, ino uint64 }

func newHostDir(path string) *hostDir {
	d := &hostDir{path: path}
	d.restart()
	return d
}

// restart forgets what an earlier walk met.
func (d *hostDir) restart() {
	d.stamps, d.inodes = map[string]layer.Stamp{}, map[inodeID]string{}
}

// Walk implements fsutil.FS. That something vanishes during the walk is an error, and not one
// that matches fs.ErrNotExist: fsutil would then leave out its neighbours too, silently.
func (d *hostDir) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	return filepath.WalkDir(filepath.Join(d.path, target), func(p string, e fs.DirEntry, err error) error {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return context.Cause(ctx)
		}
		rel, relErr := filepath.Rel(d.path, p)
		if relErr != nil {
			return relErr
		}
		if rel == "." {
			return err
		}
		if e == nil {
			return fn(rel, nil, err) // the target itself, which may be absent
		}
		return fn(rel, &hostEntry{DirEntry: e, dir: d, path: rel}, vanished(rel, err))
	})
}

// Open implements fsutil.FS.
func (d *hostDir) Open(p string) (io.ReadCloser, error) { return os.Open(filepath.Join(d.path, p)) }

func vanished(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &layer.ChangedError{Path: path}
	}
	return err
}

type hostEntry struct {
	fs.DirEntry
	dir  *hostDir
	path string
}

// Info implements fs.DirEntry; its Sys is a *types.Stat, as fsutil asks for.
func (e *hostEntry) Info() (fs.FileInfo, error) {
	info, err := e.info()
	return info, vanished(e.path, err)
}

func (e *hostEntry) info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: the system gives no inode numbers", e.path)
	}
	s := &types.Stat{
		Path: e.path, Mode: uint32(info.Mode()), ModTime: info.ModTime().UnixNano(),
	}
	full := filepath.Join(e.dir.path, e.path)
	switch info.Mode().Type() {
	case 0:
		s.Size = info.Size()
		if e.dir.stamps[e.path], err = layer.StampOf(info); err != nil {
			return nil, err
		}
	case fs.ModeSymlink:
		if s.Linkname, err = os.Readlink(full); err != nil {
			return nil, err
		}
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		s.Devmajor, s.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case fs.ModeSocket:
		// A socket means nothing without the process behind it: like BuildKit, we
		// leave an empty file in its place.
		s.Mode &^= uint32(fs.ModeSocket)
	}
	e.linkTo(s, st)
	if s.Xattrs, err = xattrs(full); err != nil {
		return nil, err
	}
	return &fsutil.StatInfo{Stat: s}, nil
}

// linkTo makes s a link to the name under which the same file was met before.
func (e *hostEntry) linkTo(s *types.Stat, st *syscall.Stat_t) {
	if st.Nlink < 2 || !fs.FileMode(s.Mode).IsRegular() {
		return
	}
	id := inodeID{uint64(st.Dev), st.Ino}
	first, ok := e.dir.inodes[id]
	if ok && first != e.path {
		s.Linkname, s.Size = first, 0
		return
	}
	e.dir.inodes[id] = e.path
}

// xattrs reads the extended attributes of a file, without following it if it is a link. SELinux
// labels are left out: they belong to the policy of the machine that the context is on.
func xattrs(path string) (map[string][]byte, error) {
	names, err := readXattr(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	switch {
	case errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, &os.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	var all map[string][]byte
	for name := range strings.SplitSeq(string(bytes.TrimRight(names, "\x00")), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		value, err := readXattr(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
			continue // gone meanwhile, or not for us to read (trusted.*)
		case err != nil:
			return nil, &os.PathError{Op: "lgetxattr " + name, Path: path, Err: err}
		}
		if all == nil {
			all = map[string][]byte{}
		}
		all[name] = value
	}
	return all, nil
}

// readXattr calls read with buffers that grow until the answer fits. Almost always there is
// nothing, which takes one call.
func readXattr(read func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := read(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = read(buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		return buf[:max(n, 0)], err
	}
}
