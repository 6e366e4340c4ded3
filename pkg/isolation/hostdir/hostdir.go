// Package hostdir reads a directory of the host as a layer, and changes it by one, without privilege:
// owners and modes that the builder may not give are kept beside.
package hostdir

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/difference"
	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
	"github.com/slipway-build/slipway/pkg/layer"
)

// override is the extended attribute that holds owner and mode of a file as "UID:GID:MODE", in the form
// in which containers/storage keeps them. Symbolic links cannot have it: theirs are lost.
const override = "user.containers.override_stat"

// Lock waits until no other process reads or changes the directory, until the returned function is called.
func Lock(root *os.Root) (unlock func() error, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		_ = dir.Close()
		return nil, &os.PathError{Op: "flock", Path: root.Name(), Err: err}
	}
	return dir.Close, nil
}

// Read returns the directory as a layer, whose contents are read from there: what [List] gives.
func Read(root *os.Root) (layer.Layer, error) {
	files, err := List(root)
	if err != nil {
		return nil, err
	}
	return layer.FromDir(root, files)
}

// List lists everything in the directory, that itself first. What the builder's user owns belongs to root, unless
// the file says otherwise. Sockets and devices are left out.
func List(root *os.Root) ([]layer.DirFile, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	r := reader{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	if err := r.object(int(dir.Fd()), "", ""); err != nil {
		return nil, fmt.Errorf("reading %s: %w", root.Name(), err)
	}
	return difference.List(r.found).Slice(), nil
}

type reader struct {
	uid, gid uint32 // of the builder
	found    []difference.File
}

// object reads name in the open directory dir, "" for that itself, and everything below it.
func (r *reader) object(dir int, name, path string) error {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		return nil
	}
	f, err := difference.Describe(dir, name, path, &st, func(attribute string) bool {
		return attribute == override || xattr.Portable(attribute)
	})
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	r.own(&f.Entry)
	r.found = append(r.found, f)
	if f.Type != layer.Directory {
		return nil
	}
	return inode.Children(dir, name, path, r.object)
}

// own sets owner and mode.
func (r *reader) own(e *layer.Entry) {
	kept, ok := e.Xattrs[override]
	if ok {
		if delete(e.Xattrs, override); len(e.Xattrs) == 0 {
			e.Xattrs = nil
		}
	}
	if uid, gid, mode, valid := parseOverride(kept); ok && valid {
		e.UID, e.GID, e.Mode = uid, gid, mode
		return
	}
	if r.uid != 0 && e.UID == r.uid {
		e.UID = 0
		if e.GID == r.gid {
			e.GID = 0
		}
	}
}

func formatOverride(e *layer.Entry) string { return fmt.Sprintf("%d:%d:0%o", e.UID, e.GID, e.Mode) }

func parseOverride(s string) (uid, gid uint32, mode uint16, ok bool) {
	parts := strings.Split(s, ":")
	if len(parts) < 3 { // there may be a type behind the mode
		return 0, 0, 0, false
	}
	u, err1 := strconv.ParseUint(parts[0], 10, 32)
	g, err2 := strconv.ParseUint(parts[1], 10, 32)
	m, err3 := strconv.ParseUint(parts[2], 8, 16)
	return uint32(u), uint32(g), uint16(m & 0o7777), err1 == nil && err2 == nil && err3 == nil
}
