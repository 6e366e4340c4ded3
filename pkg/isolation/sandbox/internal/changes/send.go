// Package changes sends the upper directories of overlay mounts from inside the sandbox's kernel to the
// builder: what is in them as it is, in one stream. What of it is a change the builder tells, which has
// the tree below (see package receiver).
package changes

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
)

// A stream is, as gob, for each directory a Start and its Objects, with the chunks of their contents, and at the end
// a Start that says so.

// chunk is how many bytes of a content are sent at a time.
const chunk = 256 << 10

// Object is one file of an upper directory. Parents come before what is in them.
type Object struct {
	Path   string // relative; "" for the directory itself
	Status inode.Status
	// Began is when the command was started, in nanoseconds. Only of the root.
	Began int64
	// Content says that chunks follow, until there are as many bytes as the file has. Of a file with several
	// names only the first has them.
	Content bool
	// Last says that there is no further object, and this is none.
	Last bool
}

// Start comes before the objects of a directory.
type Start struct {
	// Upper is its number.
	Upper int
	// End says that there is no further directory, and this is none.
	End bool
}

// Sender writes upper directories, in the order in which they are sent.
type Sender struct {
	out *gob.Encoder
	buf []byte
}

// NewSender returns a Sender that writes to w.
func NewSender(w io.Writer) *Sender { return &Sender{out: gob.NewEncoder(w), buf: make([]byte, chunk)} }

// Send writes one directory, in which nothing changes any more. began is when the command was started.
// n is the number by which the builder tells the directory.
func (s *Sender) Send(n int, root *os.Root, began time.Time) error {
	if err := s.out.Encode(Start{Upper: n}); err != nil {
		return err
	}
	dir, err := root.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	w := walk{Sender: s, began: began.UnixNano(), sent: map[uint64]bool{}}
	if err := w.object(int(dir.Fd()), "", ""); err != nil {
		return err
	}
	return s.out.Encode(Object{Last: true})
}

// End says that all is sent.
func (s *Sender) End() error { return s.out.Encode(Start{End: true}) }

// walk is one directory on its way.
type walk struct {
	*Sender
	began int64
	sent  map[uint64]bool // inode numbers of files with several names whose content was sent
}

// object sends name in the open directory dir, "" for that itself, and everything below it.
func (w *walk) object(dir int, name, path string) error {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	s, err := inode.Read(dir, name, &st, xattr.Upper(overlay.Trusted))
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	o := Object{Path: path, Status: s, Began: w.began}
	o.Content = s.Kind() == unix.S_IFREG && st.Size > 0 && !w.sent[st.Ino]
	if err := w.out.Encode(o); err != nil {
		return err
	}
	if o.Content {
		w.sent[st.Ino] = true
		if err := w.content(dir, name, int64(st.Size)); err != nil {
			return fmt.Errorf("/%s: %w", path, err)
		}
	}
	if s.Kind() == unix.S_IFDIR {
		return inode.Children(dir, name, path, w.object)
	}
	return nil
}

func (w *walk) content(dir int, name string, size int64) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	for left := size; left > 0; {
		n, err := f.Read(w.buf[:min(left, chunk)])
		if n > 0 {
			left -= int64(n)
			if err := w.out.Encode(w.buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && !(errors.Is(err, io.EOF) && left == 0) {
			return err
		}
	}
	return nil
}
