// Package overlay holds what everybody must agree on about the kernel's overlayfs
// (Documentation/filesystems/overlayfs.rst).
package overlay

import "strings"

// MaxLowers is how many lower directories the kernel stacks at most (OVL_MAX_STACK).
const MaxLowers = 500

// Xattrs is the prefix of the extended attributes in which overlayfs keeps its marks.
type Xattrs string

// The prefixes: User for filesystems mounted with the option userxattr, which is the only one
// that works in a user namespace.
const (
	User    Xattrs = "user.overlay."
	Trusted Xattrs = "trusted.overlay."
)

// Opaque is the attribute that makes a directory hide what lower directories have in it;
// its value is then "y".
func (x Xattrs) Opaque() string { return string(x) + "opaque" }

// Private reports whether an extended attribute belongs to overlayfs, with either prefix, and
// therefore never to an image.
func Private(name string) bool {
	return strings.HasPrefix(name, string(User)) || strings.HasPrefix(name, string(Trusted))
}
