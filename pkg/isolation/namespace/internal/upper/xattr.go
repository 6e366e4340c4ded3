package upper

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/namespace/internal/overlay"
)

// xattrs reads the extended attributes of the object at path, not following a link, and says
// whether they mark it opaque.
func (s *scanner) xattrs(path string) (attrs map[string]string, opaque bool, err error) {
	names, err := list(path)
	if err != nil || names == "" {
		return nil, false, err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		isOpaque := name == s.Xattrs.Opaque()
		if !isOpaque && !portable(name) {
			continue
		}
		value, err := get(path, name)
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not for us to see
		}
		if err != nil {
			return nil, false, fmt.Errorf("attribute %s: %w", name, err)
		}
		if isOpaque {
			opaque = value == "y"
			continue
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = value
	}
	return attrs, opaque, nil
}

// portable reports whether an attribute belongs into a layer. Those of overlayfs do not, nor
// labels that this host's policy put on everything.
func portable(name string) bool {
	return !overlay.Private(name) && name != "security.selinux" && name != "security.evm"
}

func list(path string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Llistxattr(path, buf)
		switch {
		case err == nil:
			return string(buf[:n]), nil
		case errors.Is(err, unix.EOPNOTSUPP):
			return "", nil
		case !errors.Is(err, unix.ERANGE):
			return "", fmt.Errorf("listing attributes: %w", err)
		}
		buf = make([]byte, 2*len(buf))
	}
}

func get(path, name string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(path, name, buf)
		if !errors.Is(err, unix.ERANGE) {
			return string(buf[:max(n, 0)]), err
		}
		buf = make([]byte, 2*len(buf))
	}
}
