// Package inode reads what the kernel says of files: their status, links and attributes, and what is in
// directories. It knows nothing of layers and imports little, so that processes that a RUN waits for have
// it at hand at once.
package inode

import (
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
)

// Status is all that there is to know of a file but its content.
type Status struct {
	Stat   unix.Statx_t
	Link   string            // a symbolic link's target
	Xattrs map[string]string // nil if there are none
}

// Read completes the status of name in the open directory dir, "" for the directory itself, with its link and
// those attributes that wanted accepts.
func Read(dir int, name string, st *unix.Statx_t, wanted func(attribute string) bool) (s Status, err error) {
	s.Stat = *st
	if s.Kind() == unix.S_IFLNK {
		if s.Link, err = readlink(dir, name); err != nil {
			return s, err
		}
	}
	s.Xattrs, err = xattr.ReadAt(dir, name, wanted)
	return s, err
}

// Kind is the type of the file: S_IFREG and so on.
func (s *Status) Kind() uint32 { return uint32(s.Stat.Mode) & unix.S_IFMT }

// Whiteout reports whether the file, in the upper directory of an overlay mount, hides what is below it.
func (s *Status) Whiteout() bool {
	return s.Kind() == unix.S_IFCHR && s.Stat.Rdev_major == 0 && s.Stat.Rdev_minor == 0
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	return string(buf[:max(n, 0)]), err
}
