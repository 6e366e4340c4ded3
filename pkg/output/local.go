package output

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
)

// Local writes the root filesystem into a directory, as BuildKit's local exporter does: modes,
// times, links and extended attributes are those of the image, the owner is the caller. What
// is in the directory already stays, unless the image has something of the same name.
type Local struct {
	dest string
	// split gives each platform a directory; nil: if there are several.
	split *bool
}

// NewLocal returns the output for the directory dest. split says whether each platform has a
// directory of its own, "linux_amd64"; nil means if the image is an index.
func NewLocal(dest string, split *bool) *Local { return &Local{dest, split} }

// String implements Output.
func (l *Local) String() string { return "copying files to " + l.dest }

// Prepare implements Output: it writes everything into a temporary directory in the
// destination, which is then on the same filesystem even where the destination is a mount.
func (l *Local) Prepare(ctx context.Context, b *image.Built) (_ Pending, err error) {
	split := b.Joined()
	if l.split != nil {
		split = *l.split
	}
	flat, err := flatten(ctx, b, split)
	if err != nil {
		return nil, err
	}
	index, err := flat.Index(ctx)
	if err != nil {
		return nil, err
	}
	made, err := makeDirs(l.dest)
	if err != nil {
		return nil, err
	}
	p := &pendingLocal{dest: l.dest, made: made, index: index}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Abort())
		}
	}()
	if p.root, err = os.OpenRoot(l.dest); err != nil {
		return nil, err
	}
	p.tmp = ".slipway-" + rand.Text()
	if err := p.root.Mkdir(p.tmp, 0o700); err != nil {
		return nil, err
	}
	x := &extractor{root: p.root, dir: p.tmp, layer: flat, index: index, buf: make([]byte, 256<<10)}
	for i := range index.Len() {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := x.extract(ctx, index.At(i), i); err != nil {
			return nil, fmt.Errorf("writing %s: %w", index.At(i).Path, err)
		}
	}
	p.notes = x.notes()
	return p, nil
}

type pendingLocal struct {
	dest  string
	made  []string
	root  *os.Root
	tmp   string
	index *layer.Index
	notes []string
}

// Commit implements Pending.
func (p *pendingLocal) Commit(context.Context) (*Result, error) {
	err := p.move("")
	if err == nil {
		err = p.finishDirs()
	}
	if err = errors.Join(err, p.root.RemoveAll(p.tmp), p.root.Close()); err != nil {
		return nil, err
	}
	return &Result{Path: p.dest, Notes: p.notes}, nil
}

// move brings the content of a directory to its place. Directories that exist there are
// filled; anything else that is in the way is replaced.
func (p *pendingLocal) move(dir string) error {
	entries, err := fs.ReadDir(p.root.FS(), path.Join(p.tmp, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		to := path.Join(dir, e.Name())
		there, err := p.root.Lstat(to)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case there.IsDir() && e.IsDir():
			if err := p.move(to); err != nil {
				return err
			}
			continue
		case there.IsDir():
			return fmt.Errorf("%s is a directory in %s and none in the image: remove it first", to, p.dest)
		case e.IsDir(): // rename(2) puts no directory in the place of a file
			if err := p.root.Remove(to); err != nil {
				return err
			}
		}
		if err := p.root.Rename(path.Join(p.tmp, to), to); err != nil {
			return err
		}
	}
	return nil
}

// finishDirs gives directories their modes and times, deepest first: until now they had to be
// writable, and every file that came changed their times.
func (p *pendingLocal) finishDirs() error {
	for i := p.index.Len() - 1; i >= 0; i-- {
		if e := p.index.At(i); e.Type == layer.Directory {
			if err := errors.Join(chmod(p.root, e.Path, e.Mode), p.root.Chtimes(e.Path, time.Time{}, e.ModTime)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Abort implements Pending.
func (p *pendingLocal) Abort() error {
	if p.root == nil {
		return removeDirs(p.made)
	}
	var err error
	if p.tmp != "" {
		err = p.root.RemoveAll(p.tmp)
	}
	return errors.Join(err, p.root.Close(), removeDirs(p.made))
}

// extractor writes entries below a directory of root. Parents come before their children, as
// they do in an index.
type extractor struct {
	root  *os.Root
	dir   string
	layer layer.Layer
	index *layer.Index
	buf   []byte

	// refused counts the extended attributes that could not be set, by name.
	refused map[string]int
}

func (x *extractor) extract(ctx context.Context, e *layer.Entry, i int) error {
	p := path.Join(x.dir, e.Path)
	switch e.Type {
	case layer.Directory:
		if err := x.root.Mkdir(p, 0o700); err != nil {
			return err
		}
		return x.xattrs(p, e)
	case layer.Regular:
		return x.regular(ctx, p, e, i)
	case layer.Symlink:
		if err := x.root.Symlink(e.Link, p); err != nil {
			return err
		}
		return x.linkTime(p, e.ModTime)
	case layer.Hardlink:
		return x.root.Link(path.Join(x.dir, e.Link), p)
	case layer.CharDevice, layer.BlockDevice, layer.Fifo:
		return x.special(p, e)
	}
	return fmt.Errorf("unexpected type %d", e.Type)
}

func (x *extractor) regular(ctx context.Context, p string, e *layer.Entry, i int) (err error) {
	r, err := layer.OpenAt(ctx, x.layer, x.index, i)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := x.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{r}, x.buf)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := x.xattrs(p, e); err != nil {
		return err
	}
	return errors.Join(chmod(x.root, p, e.Mode), x.root.Chtimes(p, time.Time{}, e.ModTime))
}

func (x *extractor) special(p string, e *layer.Entry) error {
	mode := uint32(unix.S_IFIFO)
	dev := 0
	switch e.Type {
	case layer.CharDevice:
		mode, dev = unix.S_IFCHR, int(unix.Mkdev(e.Major, e.Minor))
	case layer.BlockDevice:
		mode, dev = unix.S_IFBLK, int(unix.Mkdev(e.Major, e.Minor))
	}
	err := x.inParent(p, func(fd int, name string) error { return unix.Mknodat(fd, name, mode|0o600, dev) })
	if errors.Is(err, unix.EPERM) && e.Type != layer.Fifo {
		return errors.New("it is a device node, which only root can make: use type=tar, or leave it out of the image")
	}
	if err != nil {
		return err
	}
	return errors.Join(chmod(x.root, p, e.Mode), x.root.Chtimes(p, time.Time{}, e.ModTime))
}

func (x *extractor) linkTime(p string, t time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t.UnixNano())}
	return x.inParent(p, func(fd int, name string) error {
		return unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// inParent calls f with a descriptor of p's directory and the name in it, for system calls that
// os.Root does not have.
func (x *extractor) inParent(p string, f func(fd int, name string) error) error {
	dir, err := x.root.Open(path.Dir(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(int(dir.Fd()), path.Base(p))
}

// xattrs sets extended attributes. Those that the caller may not set are counted, for a note:
// the file is of use without them.
func (x *extractor) xattrs(p string, e *layer.Entry) error {
	if len(e.Xattrs) == 0 {
		return nil
	}
	f, err := x.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	for name, value := range e.Xattrs {
		err := unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
		switch {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EACCES):
			if x.refused == nil {
				x.refused = map[string]int{}
			}
			x.refused[name]++
		case err != nil:
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func (x *extractor) notes() []string {
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(x.refused)) {
		n := x.refused[name]
		notes = append(notes, fmt.Sprintf("the extended attribute %s of %d files could not be set: not permitted, or unknown to the filesystem", name, n))
	}
	return notes
}

// chmod sets all twelve bits.
func chmod(root *os.Root, p string, mode uint16) error {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return root.Chmod(p, m)
}
