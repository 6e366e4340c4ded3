package inplace

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// stubs are the mount points that had to be made in the root, and are removed again
// without a trace: the directories around them keep their times.
type stubs struct {
	root int
	made []stub // in the order in which they were made
}

type stub struct {
	parent int
	name   string
	dir    bool
	dev    uint64
	ino    uint64
}

// place opens target inside the root with O_PATH, making a stub if it is missing.
func (s *stubs) place(target string, dir bool) (int, error) {
	return ensure(s.root, target, dir, s.make)
}

func (s *stubs) make(parent int, name string, dir bool) error {
	keep, err := unix.FcntlInt(uintptr(parent), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = keepTimes(parent, func() error {
		if err := makeEmpty(parent, name, dir); err != nil {
			return err
		}
		return unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		unix.Close(keep)
		return err
	}
	s.made = append(s.made, stub{parent: keep, name: name, dir: dir, dev: st.Dev, ino: st.Ino})
	return nil
}

// remove removes the stubs, last first, but leaves alone what the command put in their place and
// directories that it put something into.
func (s *stubs) remove() error {
	var errs []error
	for i := len(s.made) - 1; i >= 0; i-- {
		m := s.made[i]
		if err := m.remove(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
		unix.Close(m.parent)
	}
	s.made = nil
	return errors.Join(errs...)
}

func (m *stub) remove() error {
	var st unix.Stat_t
	err := unix.Fstatat(m.parent, m.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Dev != m.dev || st.Ino != m.ino || (!m.dir && st.Size != 0) {
		return nil
	}
	flags := 0
	if m.dir {
		flags = unix.AT_REMOVEDIR
	}
	err = keepTimes(m.parent, func() error { return unix.Unlinkat(m.parent, m.name, flags) })
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// keepTimes runs change and gives the directory back the times that it had before.
func keepTimes(dir int, change func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return futimens(dir, st.Atim, st.Mtim)
}

func futimens(fd int, atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{atime, mtime}, unix.AT_EMPTY_PATH)
}

// makeEmpty makes an empty directory or file.
func makeEmpty(parent int, name string, dir bool) error {
	if dir {
		return unix.Mkdirat(parent, name, 0o755)
	}
	return makeFile(parent, name, nil, 0o644)
}

// makeFile makes a file with the given content.
func makeFile(parent int, name string, data []byte, mode uint32) error {
	fd, err := unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			unix.Close(fd)
			return err
		}
		data = data[n:]
	}
	return unix.Close(fd)
}
