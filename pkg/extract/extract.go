// Package extract writes a part of a tree into an empty directory, as plain files with their
// owners, modes, times and attributes.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Dir gives the directory at path, which must be empty, the content and metadata of the
// directory n. The caller needs the privilege to set owners and to make devices where n has
// any. Every object is made relative to the descriptor of its parent and never through a
// link, so nothing outside of path is reached whatever n holds.
func Dir(ctx context.Context, n *tree.Node, path string) error {
	return Options{}.Dir(ctx, n, path)
}

// Options say how to extract; the zero value is the usual way.
type Options struct {
	// Skip, if set, says which extended attributes are left out.
	Skip func(attribute string) bool
}

// Node makes n, of whatever type and under its own name, in the directory at path, in which
// there must be nothing of that name.
func (o Options) Node(ctx context.Context, n *tree.Node, path string) error {
	x, err := o.open(ctx, path)
	if err != nil {
		return err
	}
	err = x.child(x.fd, n.Name(), n)
	if err != nil {
		err = fmt.Errorf("extracting %s: %w", n.Name(), err)
	}
	return errors.Join(err, unix.Close(x.fd))
}

// Metadata gives the existing directory at path the owner, attributes, mode and time of n.
func (o Options) Metadata(ctx context.Context, n *tree.Node, path string) error {
	x, err := o.open(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(x.setMetadata(x.fd, n.Entry()), unix.Close(x.fd))
}

func (o Options) open(ctx context.Context, path string) (*extractor, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &extractor{Options: o, ctx: ctx, fd: fd, linked: map[*layer.Entry]string{}}, nil
}

// Dir is [Dir] with options.
func (o Options) Dir(ctx context.Context, n *tree.Node, path string) error {
	if !n.IsDir() {
		return &os.PathError{Op: "extract", Path: n.Entry().Path, Err: unix.ENOTDIR}
	}
	x, err := o.open(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(x.directory(x.fd, "", n), unix.Close(x.fd))
}

type extractor struct {
	Options
	ctx context.Context
	fd  int // of the directory that everything goes below
	// linked maps the inodes with several names to the first path written.
	linked map[*layer.Entry]string
}

// directory fills the open directory fd, at path below the start, from n.
func (x *extractor) directory(fd int, path string, n *tree.Node) error {
	for child := range n.Children() {
		if err := x.ctx.Err(); err != nil {
			return context.Cause(x.ctx)
		}
		p := child.Name()
		if path != "" {
			p = path + "/" + p
		}
		if err := x.child(fd, p, child); err != nil {
			return fmt.Errorf("extracting %s: %w", p, err)
		}
	}
	return x.setMetadata(fd, n.Entry())
}

// child makes n in the directory fd.
func (x *extractor) child(fd int, path string, n *tree.Node) error {
	e, name := n.Entry(), n.Name()
	if n.Linked() && !n.IsDir() {
		if first, ok := x.linked[e]; ok {
			return unix.Linkat(x.fd, first, fd, name, 0)
		}
		x.linked[e] = path
	}
	switch e.Type {
	case layer.Directory:
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			return err
		}
		return withOpen(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, func(dir int) error { return x.directory(dir, path, n) })
	case layer.Regular:
		return withOpen(fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, func(file int) error {
			if err := x.content(file, n); err != nil {
				return err
			}
			return x.setMetadata(file, e)
		})
	case layer.Symlink:
		if err := unix.Symlinkat(e.Link, fd, name); err != nil {
			return err
		}
	case layer.Fifo:
		if err := unix.Mknodat(fd, name, unix.S_IFIFO|uint32(e.Mode), 0); err != nil {
			return err
		}
	case layer.CharDevice, layer.BlockDevice:
		kind := uint32(unix.S_IFCHR)
		if e.Type == layer.BlockDevice {
			kind = unix.S_IFBLK
		}
		if err := unix.Mknodat(fd, name, kind|uint32(e.Mode), int(unix.Mkdev(e.Major, e.Minor))); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown type %d", e.Type)
	}
	return x.setMetadataAt(fd, name, e)
}

func (x *extractor) content(fd int, n *tree.Node) error {
	r, err := n.Open(x.ctx)
	if err != nil {
		return err
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	w := os.NewFile(uintptr(dup), n.Name())
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close(), r.Close())
}

// withOpen calls f with name, opened in the directory fd, never through a link.
func withOpen(fd int, name string, flags int, f func(fd int) error) error {
	file, err := unix.Openat(fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f(file), unix.Close(file))
}

// setMetadata gives an open file or directory its owner, attributes, mode and time, in this order:
// a change of owner clears setuid bits and file capabilities.
func (x *extractor) setMetadata(fd int, e *layer.Entry) error {
	if err := unix.Fchown(fd, int(e.UID), int(e.GID)); err != nil {
		return fmt.Errorf("changing the owner: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		if x.Skip != nil && x.Skip(name) {
			continue
		}
		if err := unix.Fsetxattr(fd, name, []byte(e.Xattrs[name]), 0); err != nil {
			return fmt.Errorf("setting attribute %s: %w", name, err)
		}
	}
	if err := unix.Fchmod(fd, uint32(e.Mode)); err != nil {
		return fmt.Errorf("changing the mode: %w", err)
	}
	return setTime(fd, "", e, unix.AT_EMPTY_PATH)
}

// setMetadataAt is setMetadata for what cannot be opened: links, devices, fifos. Their
// attributes, which next to nothing sets, can't be set without following links.
func (x *extractor) setMetadataAt(fd int, name string, e *layer.Entry) error {
	if err := unix.Fchownat(fd, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("changing the owner: %w", err)
	}
	for name := range e.Xattrs {
		if x.Skip != nil && x.Skip(name) {
			continue
		}
		return fmt.Errorf("extended attributes of links and devices can't be extracted")
	}
	if e.Type != layer.Symlink {
		if err := unix.Fchmodat(fd, name, uint32(e.Mode), 0); err != nil {
			return fmt.Errorf("changing the mode: %w", err)
		}
	}
	return setTime(fd, name, e, unix.AT_SYMLINK_NOFOLLOW)
}

func setTime(fd int, name string, e *layer.Entry, flags int) error {
	mtime := e.ModTime
	if mtime.IsZero() { // no time is the beginning of Unix time
		mtime = time.Unix(0, 0)
	}
	ts, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(fd, name, []unix.Timespec{ts, ts}, flags); err != nil {
		return fmt.Errorf("changing the time: %w", err)
	}
	return nil
}
