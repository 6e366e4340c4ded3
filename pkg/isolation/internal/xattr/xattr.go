// Package xattr reads the extended attributes of files.
package xattr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
)

// Portable reports whether an extended attribute belongs into a layer. Those of overlayfs do not, nor
// labels that this host's policy put on everything.
func Portable(name string) bool {
	return !overlay.Private(name) && name != "security.selinux" && name != "security.evm"
}

// Upper accepts what matters in the upper directory of an overlay mount: what is portable, and the mark that
// makes a directory opaque.
func Upper(marks overlay.Xattrs) func(name string) bool {
	opaque := marks.Opaque()
	return func(name string) bool { return name == opaque || Portable(name) }
}

// Read reads the extended attributes of what is at path, not following a link, that wanted
// accepts; nil if there are none, or the filesystem has no attributes.
func Read(path string, wanted func(name string) bool) (map[string]string, error) {
	return read(path, wanted, func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
}

// ReadAt is Read for name in the open directory dir, "" for the directory itself.
func ReadAt(dir int, name string, wanted func(name string) bool) (map[string]string, error) {
	path := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
	if !hasListAt() {
		return Read(path, wanted)
	}
	return read(path, wanted, func(buf []byte) (int, error) { return listAt(dir, name, buf) })
}

// read reads the attributes of what is at path, of which list gives the names.
func read(path string, wanted func(name string) bool, list func(buf []byte) (int, error)) (map[string]string, error) {
	names, err := grow(list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing attributes: %w", err)
	}
	var attrs map[string]string
	for name := range strings.SplitSeq(names, "\x00") {
		if name == "" || !wanted(name) {
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

// grow gives call a larger buffer until what it has to say fits.
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
