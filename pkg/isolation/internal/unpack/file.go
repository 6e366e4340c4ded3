package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/layer"
)

// bufferSize is how much of a file is in memory at a time.
const bufferSize = 256 << 10

func (u *Unpacker) writeFiles(ctx context.Context, w *worker, root int, d *dir, files []file) error {
	fd, err := openBeneath(root, d.path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		f := &files[i]
		if err := u.writeFile(ctx, w, fd, f); err != nil {
			return fmt.Errorf("unpacking %s: %w", join(d.path, f.name), err)
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (u *Unpacker) writeFile(ctx context.Context, w *worker, dir int, f *file) error {
	e := f.entry
	switch e.Type {
	case layer.Regular:
		return u.writeRegular(ctx, w, dir, f)
	case layer.Symlink:
		if err := unix.Symlinkat(e.Link, dir, f.name); err != nil {
			return fmt.Errorf("symlink: %w", err)
		}
		return u.finishAt(dir, f)
	case layer.Whiteout:
		if err := unix.Mknodat(dir, f.name, unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("making a whiteout: %w", err)
		}
		return nil
	case layer.CharDevice, layer.BlockDevice, layer.Fifo:
		if err := u.makeNode(dir, f.name, e); err != nil {
			return fmt.Errorf("mknod: %w", err)
		}
		return u.finishAt(dir, f)
	}
	return fmt.Errorf("entry of unknown type %d", e.Type)
}

func (u *Unpacker) makeNode(dir int, name string, e *layer.Entry) error {
	kind, dev := uint32(unix.S_IFIFO), 0
	switch e.Type {
	case layer.CharDevice:
		kind, dev = unix.S_IFCHR, int(unix.Mkdev(e.Major, e.Minor))
	case layer.BlockDevice:
		kind, dev = unix.S_IFBLK, int(unix.Mkdev(e.Major, e.Minor))
	}
	if u.noDevices && kind != unix.S_IFIFO {
		kind, dev = unix.S_IFREG, 0
	}
	return unix.Mknodat(dir, name, kind|0o600, dev)
}

func (u *Unpacker) writeRegular(ctx context.Context, w *worker, dir int, f *file) error {
	mode := uint32(f.entry.Mode & 0o777)
	fd, err := unix.Openat(dir, f.name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return fmt.Errorf("creating: %w", err)
	}
	err = u.fill(ctx, w, fd, f)
	if err == nil {
		err = u.finish(fd, f.entry, mode&^u.umask)
	}
	return errors.Join(err, unix.Close(fd))
}

// fill writes the content of f.
func (u *Unpacker) fill(ctx context.Context, w *worker, fd int, f *file) error {
	if f.entry.Size == 0 {
		return nil
	}
	r, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if w.buf == nil {
		w.buf = make([]byte, bufferSize)
	}
	var written int64
	for {
		n, err := r.Read(w.buf)
		if werr := writeAll(fd, w.buf[:n]); werr != nil {
			return fmt.Errorf("writing: %w", werr)
		}
		written += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	if written != f.entry.Size {
		return fmt.Errorf("content is %d bytes long, not %d", written, f.entry.Size)
	}
	return nil
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		p = p[max(n, 0):]
	}
	return nil
}

// finish gives the open file or directory fd, which was made with the mode made, its attributes.
// The order matters: a new owner clears setuid and file capabilities, and only the last
// step leaves the time alone. What is right already costs no system call.
func (u *Unpacker) finish(fd int, e *layer.Entry, made uint32) error {
	if e.UID != u.uid || e.GID != u.gid {
		if err := unix.Fchown(fd, int(e.UID), int(e.GID)); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	if uint32(e.Mode) != made {
		if err := unix.Fchmod(fd, uint32(e.Mode)); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	for name, value := range e.Xattrs {
		if err := setXattr(name, func() error { return unix.Fsetxattr(fd, name, []byte(value), 0) }); err != nil {
			return err
		}
	}
	if err := unix.UtimesNanoAt(fd, "", times(e), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("setting times: %w", err)
	}
	return nil
}

// finishAt is finish for what cannot or must not be opened.
func (u *Unpacker) finishAt(dir int, f *file) error {
	e := f.entry
	if e.UID != u.uid || e.GID != u.gid {
		if err := unix.Fchownat(dir, f.name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	if e.Type != layer.Symlink {
		if err := unix.Fchmodat(dir, f.name, uint32(e.Mode), 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	for name, value := range e.Xattrs {
		// There is no system call for this that takes a directory, on most kernels.
		path := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + f.name
		if err := setXattr(name, func() error { return unix.Lsetxattr(path, name, []byte(value), 0) }); err != nil {
			return err
		}
	}
	if err := unix.UtimesNanoAt(dir, f.name, times(e), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("setting times: %w", err)
	}
	return nil
}

// setXattr sets one extended attribute. The kernel's own marks are never taken from an image.
//
// Attributes that this filesystem or this process cannot have are left out: processes do not
// see them, but the layer, which goes on as it is, keeps them. File capabilities are not
// left out, because programs would fail without them.
func setXattr(name string, set func() error) error {
	if overlay.Private(name) {
		return nil
	}
	err := set()
	if err == nil {
		return nil
	}
	if name != "security.capability" && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM)) &&
		!strings.HasPrefix(name, "user.") {
		return nil
	}
	return fmt.Errorf("setting attribute %s: %w", name, err)
}

// times are the times of a new object: reading is not recorded, so both are the same.
func times(e *layer.Entry) []unix.Timespec {
	t := unix.Timespec{}
	if !e.ModTime.IsZero() {
		t = unix.NsecToTimespec(0)
		t.Sec, t.Nsec = e.ModTime.Unix(), int64(e.ModTime.Nanosecond())
	}
	return []unix.Timespec{t, t}
}
