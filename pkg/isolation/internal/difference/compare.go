package difference

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Compare sets Same if f, which is name in the open directory dir and no directory, is just what lower
// is. lower is nil if there is nothing below.
func (f *File) Compare(ctx context.Context, dir int, name string, lower *tree.Node) error {
	return f.CompareTo(ctx, lower, func() (io.ReadCloser, error) {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	})
}

// CompareTo is Compare for a file whose content open opens. Contents are only read if everything
// else is the same.
func (f *File) CompareTo(ctx context.Context, lower *tree.Node, open func() (io.ReadCloser, error)) error {
	if lower == nil || !SameMetadata(&f.Entry, lower.Entry()) {
		return nil
	}
	if f.Type != layer.Regular || f.Size == 0 {
		f.Same = true
		return nil
	}
	file, err := open()
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := lower.Open(ctx)
	if err != nil {
		return err
	}
	defer content.Close()
	f.Same, err = sameContent(file, content)
	return err
}

// SameMetadata compares everything but names and content. The times of links and devices
// count too: nothing changes them in passing.
func SameMetadata(a, b *layer.Entry) bool {
	if a.Type != b.Type || a.UID != b.UID || a.GID != b.GID || a.Size != b.Size ||
		a.Link != b.Link && a.Type == layer.Symlink || a.Major != b.Major || a.Minor != b.Minor ||
		a.Mode != b.Mode && a.Type != layer.Symlink || !unixTime(a).Equal(unixTime(b)) {
		return false
	}
	return containsAll(a.Xattrs, b.Xattrs) && containsAll(b.Xattrs, a.Xattrs)
}

// containsAll reports whether b has all portable attributes of a.
func containsAll(a, b map[string]string) bool {
	for name, value := range a {
		if other, ok := b[name]; xattr.Portable(name) && (!ok || other != value) {
			return false
		}
	}
	return true
}

// sameContent compares two streams to the end.
func sameContent(a, b io.Reader) (bool, error) {
	const size = 64 << 10
	ra, rb := bufio.NewReaderSize(a, size), bufio.NewReaderSize(b, size)
	for {
		pa, errA := ra.Peek(size)
		pb, errB := rb.Peek(size)
		for _, err := range []error{errA, errB} {
			if err != nil && !errors.Is(err, io.EOF) {
				return false, fmt.Errorf("comparing: %w", err)
			}
		}
		if string(pa) != string(pb) {
			return false, nil
		}
		if len(pa) < size {
			return true, nil
		}
		if _, err := ra.Discard(size); err != nil {
			return false, err
		}
		if _, err := rb.Discard(size); err != nil {
			return false, err
		}
	}
}

// unixTime is the time that an unpacked entry has; no time is the beginning of Unix time.
func unixTime(e *layer.Entry) time.Time {
	if e.ModTime.IsZero() {
		return time.Unix(0, 0)
	}
	return e.ModTime
}
