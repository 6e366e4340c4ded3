// Package scan finds out what a process changed in a directory, by comparing what statx(2) says of
// every file before and after: only files of which it says something else are read.
package scan

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
)

// Snapshot is what statx(2) says of a directory and everything below it.
type Snapshot struct{ root record }

// record is one file. Its children are sorted by name.
type record struct {
	name     string
	stat     stat
	children *[]record // of a directory that has some
}

// stat is what tells whether a file is still the same and unchanged. The time of birth is
// there because a new file may get the inode number of a removed one.
type stat struct {
	ino, size            uint64
	btime, ctime, mtime  stamp
	uid, gid, nlink      uint32
	rdevMajor, rdevMinor uint32
	devMajor, devMinor   uint32
	mode                 uint16
}

// stamp is a time, without the bytes that unix.StatxTimestamp has in reserve and for alignment.
type stamp struct {
	seconds [2]uint32 // the upper and the lower half
	nanos   uint32
}

func stampOf(t unix.StatxTimestamp) stamp {
	return stamp{[2]uint32{uint32(uint64(t.Sec) >> 32), uint32(t.Sec)}, t.Nsec}
}

func (s stamp) statx() unix.StatxTimestamp {
	return unix.StatxTimestamp{Sec: int64(uint64(s.seconds[0])<<32 | uint64(s.seconds[1])), Nsec: s.nanos}
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// Take walks the directory at path, with several goroutines. Nothing should change it
// meanwhile.
func Take(ctx context.Context, path string) (*Snapshot, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", path, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	s := new(Snapshot)
	s.root.stat, err = statOf(fd, "")
	g.Go(func() error {
		defer unix.Close(fd)
		if err != nil {
			return err
		}
		w := walker{ctx, g}
		return w.directory(fd, &s.root)
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("looking at %s: %w", path, err)
	}
	return s, nil
}

type walker struct {
	ctx   context.Context
	group *errgroup.Group
}

func (w walker) directory(fd int, r *record) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	names, err := inode.Names(fd)
	if err != nil {
		return err
	}
	slices.Sort(names)
	if len(names) == 0 {
		return nil
	}
	children := make([]record, len(names))
	r.children = &children
	for i, name := range names {
		c := &children[i]
		c.name = name
		if c.stat, err = statOf(fd, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !c.isDir() {
			continue
		}
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		walk := func() error {
			defer unix.Close(sub)
			return w.directory(sub, c)
		}
		if w.group.TryGo(walk) {
			continue
		}
		if err := walk(); err != nil {
			return err
		}
	}
	return nil
}

func (r *record) kind() uint32 { return uint32(r.stat.mode) & unix.S_IFMT }
func (r *record) isDir() bool  { return r.kind() == unix.S_IFDIR }

// sameObject reports whether o is the same file, changed or not.
func (r *record) sameObject(o *record) bool {
	a, b := &r.stat, &o.stat
	return a.ino == b.ino && a.btime == b.btime && r.kind() == o.kind()
}

// list gives the children.
func (r *record) list() []record {
	if r.children == nil {
		return nil
	}
	return *r.children
}

// child finds a child by its name.
func (r *record) child(name string) *record {
	children := r.list()
	i, ok := slices.BinarySearchFunc(children, name, func(c record, name string) int { return strings.Compare(c.name, name) })
	if !ok {
		return nil
	}
	return &children[i]
}

// Equal reports whether o says the same, but for what moving a file of the directory away and back
// changes: times of status change, and the time of the directory itself.
func (s *Snapshot) Equal(o *Snapshot) bool {
	a, b := s.root, o.root
	a.stat.mtime = b.stat.mtime
	return a.equal(&b)
}

func (r *record) equal(o *record) bool {
	a, b := r.stat, o.stat
	a.ctime, b.ctime = stamp{}, stamp{}
	return r.name == o.name && a == b && slices.EqualFunc(r.list(), o.list(), func(a, b record) bool { return a.equal(&b) })
}

func statOf(dir int, name string) (stat, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, statMask, &st); err != nil {
		return stat{}, err
	}
	s := stat{
		ino: st.Ino, size: st.Size, btime: stampOf(st.Btime), ctime: stampOf(st.Ctime), mtime: stampOf(st.Mtime),
		uid: st.Uid, gid: st.Gid, nlink: st.Nlink, rdevMajor: st.Rdev_major, rdevMinor: st.Rdev_minor,
		mode: st.Mode, devMajor: st.Dev_major, devMinor: st.Dev_minor,
	}
	if s.mode&unix.S_IFMT == unix.S_IFDIR {
		s.size = 0 // the filesystem's affair
	}
	return s, nil
}

// statx gives back what statOf has taken, as far as it tells what a file is.
func (s *stat) statx() *unix.Statx_t {
	return &unix.Statx_t{
		Ino: s.ino, Size: s.size, Mtime: s.mtime.statx(), Uid: s.uid, Gid: s.gid, Nlink: s.nlink,
		Rdev_major: s.rdevMajor, Rdev_minor: s.rdevMinor, Mode: s.mode, Dev_major: s.devMajor, Dev_minor: s.devMinor,
	}
}
