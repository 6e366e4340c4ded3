package rootpath

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Stubs are the mount points that had to be made in the root, and are removed again
// without a trace: the directories around them keep their times. The zero value has none.
type Stubs struct {
	Root int // a descriptor of the root directory, the caller's to close

	made []stub // in the order in which they were made
}

type stub struct {
	parent int
	name   string
	dir    bool
	dev    uint64
	ino    uint64
}

// Place opens target inside the root with O_PATH, making a stub if it is missing.
func (s *Stubs) Place(target string, dir bool) (int, error) {
	return Ensure(s.Root, target, dir, s.make)
}

// None reports whether there is nothing to be removed.
func (s *Stubs) None() bool { return len(s.made) == 0 }

// Last is the name, without its directory, of the stub that was made last; "" if there is none.
func (s *Stubs) Last() string {
	if s.None() {
		return ""
	}
	return s.made[len(s.made)-1].name
}

func (s *Stubs) make(parent int, name string, dir bool) error {
	keep, err := unix.FcntlInt(uintptr(parent), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = KeepTimes(parent, func() error {
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

// Remove removes the stubs, last first, but leaves alone what the command put in their place and
// directories that it put something into. What fails is not tried again.
func (s *Stubs) Remove() error {
	var errs []error
	for !s.None() {
		errs = append(errs, s.RemoveLast())
	}
	return errors.Join(errs...)
}

// RemoveLast removes the stub that was made last, of which there must be one, as [Stubs.Remove] does.
func (s *Stubs) RemoveLast() error {
	last := len(s.made) - 1
	m := s.made[last]
	s.made = s.made[:last]
	defer unix.Close(m.parent)
	if err := m.remove(); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return nil
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
	err = KeepTimes(m.parent, func() error { return unix.Unlinkat(m.parent, m.name, flags) })
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// KeepTimes runs change and gives the open directory dir back the times that it had before.
func KeepTimes(dir int, change func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH)
}

// makeEmpty makes an empty directory or file.
func makeEmpty(parent int, name string, dir bool) error {
	if dir {
		return unix.Mkdirat(parent, name, 0o755)
	}
	return MakeFile(parent, name, nil, 0o644)
}

// MakeFile makes a file with the given content; the umask takes from its mode.
func MakeFile(parent int, name string, data []byte, mode uint32) error {
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
