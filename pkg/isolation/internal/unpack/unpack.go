// Package unpack writes layers into directories from which overlayfs can stack them again:
// whiteouts become devices 0:0, opaque directories are marked by an extended attribute.
//
// Layers are foreign. What is to be written is planned in memory, where it is checked that
// all of it lies in directories of the same plan; it is then written by descriptors of
// directories which are opened so that no symbolic link is followed.
package unpack

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// chunk is how many files one worker takes at a time.
const chunk = 64

// Unpacker unpacks several layers at once with a fixed number of workers.
type Unpacker struct {
	xattrs    overlay.Xattrs
	noDevices bool
	umask     uint32
	uid, gid  uint32
	slots     chan *worker
}

// worker is the right to write files, with what that takes.
type worker struct{ buf []byte }

// Options of an [Unpacker].
type Options struct {
	Xattrs overlay.Xattrs
	// NoDevices writes an empty file in place of each device, because this process
	// may not make devices: it could not be opened either.
	NoDevices bool
	// Workers is how many files are written at once; 0 for the best number.
	Workers int
}

// defaultWorkers is how many files to unpack at once: more than there are processors, because a
// part of the time goes into waiting for the filesystem's journal.
func defaultWorkers() int { return 2 * runtime.GOMAXPROCS(0) }

// New returns an Unpacker.
func New(o Options) (*Unpacker, error) {
	mask, err := umask()
	if err != nil {
		return nil, err
	}
	if o.Workers == 0 {
		o.Workers = defaultWorkers()
	}
	u := &Unpacker{
		xattrs: o.Xattrs, noDevices: o.NoDevices, umask: mask,
		uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		slots: make(chan *worker, o.Workers),
	}
	for range o.Workers {
		u.slots <- &worker{}
	}
	return u, nil
}

// umask reads the file mode creation mask, which umask(2) can only tell by changing it.
func umask() (uint32, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("reading the umask: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "Umask:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32)
			if err != nil {
				return 0, fmt.Errorf("reading the umask: %w", err)
			}
			return uint32(mask), nil
		}
	}
	return 0, fmt.Errorf("/proc/self/status tells no umask")
}

// Layer unpacks l into the empty directory at path. tc may be nil if l is [SelfContained].
func (u *Unpacker) Layer(ctx context.Context, l layer.Layer, tc *Context, path string) error {
	x, err := l.Index(ctx)
	if err != nil {
		return err
	}
	p, err := planLayer(l, x, tc)
	if err != nil {
		return fmt.Errorf("unpacking a layer: %w", err)
	}
	return u.write(ctx, p, path)
}

// View unpacks a whole merged tree into the empty directory at path.
func (u *Unpacker) View(ctx context.Context, v *tree.View, path string) error {
	p, err := planView(v)
	if err != nil {
		return fmt.Errorf("unpacking a tree: %w", err)
	}
	return u.write(ctx, p, path)
}

// write carries a plan out: directories first, so that files can be written in any order, and
// the attributes of directories last, because writing into them changes their times.
func (u *Unpacker) write(ctx context.Context, p *plan, path string) error {
	if err := Plain(path); err != nil {
		return err
	}
	root, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("unpacking: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(root)
	if err := makeDirs(root, p.dirs); err != nil {
		return err
	}
	if err := u.eachChunk(ctx, p, func(ctx context.Context, w *worker, d *dir, files []file) error {
		return u.writeFiles(ctx, w, root, d, files)
	}); err != nil {
		return err
	}
	if err := makeLinks(root, p.links); err != nil {
		return err
	}
	return u.finishDirs(ctx, root, p.dirs)
}

// Plain takes from a new directory what it may have inherited from the one around it and would
// hand on to everything made in it: a group, the setgid bit, a default access control list.
func Plain(path string) error {
	if err := os.Lchown(path, os.Geteuid(), os.Getegid()); err != nil {
		return fmt.Errorf("preparing a directory: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("preparing a directory: %w", err)
	}
	for _, acl := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		switch err := unix.Lremovexattr(path, acl); err {
		case nil, unix.ENODATA, unix.EOPNOTSUPP:
		default:
			return fmt.Errorf("preparing a directory: %w", &os.PathError{Op: "removexattr " + acl, Path: path, Err: err})
		}
	}
	return nil
}

// makeDirs makes all directories but the root, with a mode that keeps others out until the
// end. Entries of one directory mostly follow each other, so its descriptor is kept.
func makeDirs(root int, dirs []dir) error {
	parent, parentPath := root, ""
	defer func() {
		if parent != root {
			unix.Close(parent)
		}
	}()
	for i := range dirs {
		p := dirs[i].path
		if p == "" {
			continue
		}
		if parentOf(p) != parentPath {
			fd, err := openBeneath(root, parentOf(p))
			if err != nil {
				return err
			}
			if parent != root {
				unix.Close(parent)
			}
			parent, parentPath = fd, parentOf(p)
		}
		if err := unix.Mkdirat(parent, p[strings.LastIndexByte(p, '/')+1:], 0o700); err != nil {
			return fmt.Errorf("unpacking: %w", &os.PathError{Op: "mkdir", Path: p, Err: err})
		}
	}
	return nil
}

// openBeneath opens a directory that was made before.
func openBeneath(root int, p string) (int, error) {
	if p == "" {
		p = "."
	}
	fd, err := unix.Openat2(root, p, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, fmt.Errorf("unpacking: %w", &os.PathError{Op: "open", Path: p, Err: err})
	}
	return fd, nil
}

// eachChunk calls do for all files, several chunks at a time.
func (u *Unpacker) eachChunk(ctx context.Context, p *plan, do func(context.Context, *worker, *dir, []file) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range p.dirs {
		d := &p.dirs[i]
		for files := d.files; len(files) > 0; {
			part := files[:min(chunk, len(files))]
			files = files[len(part):]
			w, err := u.acquire(ctx)
			if err != nil {
				return first(g.Wait(), err)
			}
			g.Go(func() error {
				defer u.release(w)
				return do(ctx, w, d, part)
			})
		}
	}
	return g.Wait()
}

func (u *Unpacker) acquire(ctx context.Context) (*worker, error) {
	select {
	case w := <-u.slots:
		return w, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (u *Unpacker) release(w *worker) { u.slots <- w }

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func makeLinks(root int, links []link) error {
	for _, l := range links {
		if err := makeLink(root, l); err != nil {
			return fmt.Errorf("unpacking: %w", &os.LinkError{Op: "link", Old: l.target, New: l.path, Err: err})
		}
	}
	return nil
}

func makeLink(root int, l link) error {
	from, err := openBeneath(root, parentOf(l.target))
	if err != nil {
		return err
	}
	defer unix.Close(from)
	to, err := openBeneath(root, parentOf(l.path))
	if err != nil {
		return err
	}
	defer unix.Close(to)
	return unix.Linkat(from, base(l.target), to, base(l.path), 0)
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// finishDirs gives directories their attributes.
func (u *Unpacker) finishDirs(ctx context.Context, root int, dirs []dir) error {
	g, ctx := errgroup.WithContext(ctx)
	for len(dirs) > 0 {
		part := dirs[:min(chunk, len(dirs))]
		dirs = dirs[len(part):]
		w, err := u.acquire(ctx)
		if err != nil {
			return first(g.Wait(), err)
		}
		g.Go(func() error {
			defer u.release(w)
			for i := range part {
				if err := u.finishDir(root, &part[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (u *Unpacker) finishDir(root int, d *dir) error {
	fd, err := openBeneath(root, d.path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if d.opaque {
		if err := unix.Fsetxattr(fd, u.xattrs.Opaque(), []byte("y"), 0); err != nil {
			return fmt.Errorf("unpacking: %w", &os.PathError{Op: "setxattr " + u.xattrs.Opaque(), Path: d.path, Err: err})
		}
	}
	if err := u.finish(fd, d.entry, 0o700); err != nil {
		return fmt.Errorf("unpacking %s: %w", d.path, err)
	}
	return nil
}

// Root prepares the empty directory at path and gives it the attributes of e, for an upper
// directory: the root of an overlay mount takes its attributes from there.
func (u *Unpacker) Root(ctx context.Context, path string, e *layer.Entry) error {
	return u.write(ctx, &plan{dirs: []dir{{entry: e}}}, path)
}
