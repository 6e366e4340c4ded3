package scan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Portable reports whether an extended attribute belongs into a layer: not those of overlayfs, nor
// labels that this host's policy put on everything.
func Portable(name string) bool {
	return !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, "trusted.overlay.") &&
		name != "security.selinux" && name != "security.evm"
}

// sameMetadata compares everything but names and content.
func sameMetadata(a, b *layer.Entry) bool {
	if a.Type != b.Type || a.UID != b.UID || a.GID != b.GID || a.Size != b.Size ||
		a.Link != b.Link && a.Type == layer.Symlink || a.Major != b.Major || a.Minor != b.Minor ||
		a.Mode != b.Mode && a.Type != layer.Symlink || !unixTime(a).Equal(unixTime(b)) {
		return false
	}
	return containsAll(a.Xattrs, b.Xattrs) && containsAll(b.Xattrs, a.Xattrs)
}

func containsAll(a, b map[string]string) bool {
	for name, value := range a {
		if other, ok := b[name]; Portable(name) && (!ok || other != value) {
			return false
		}
	}
	return true
}

// unixTime is the time that an extracted entry has; no time is the beginning of Unix time.
func unixTime(e *layer.Entry) time.Time {
	if e.ModTime.IsZero() {
		return time.Unix(0, 0)
	}
	return e.ModTime
}

func sameBytes(a, b io.Reader) (bool, error) {
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

// attributes reads the portable extended attributes of what is at path, not following a link.
func attributes(path string) (map[string]string, error) {
	names, err := grow(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing attributes: %w", err)
	}
	var attrs map[string]string
	for name := range strings.SplitSeq(names, "\x00") {
		if name == "" || !Portable(name) {
			continue
		}
		value, err := grow(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not for us to see
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = value
	}
	return attrs, nil
}

func grow(call func([]byte) (int, error)) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := call(buf)
		if !errors.Is(err, unix.ERANGE) {
			return string(buf[:max(n, 0)]), err
		}
		buf = make([]byte, 2*len(buf))
	}
}
