package layer

import (
	"time"
)

// Type is the kind of a filesystem object that an [Entry] describes.
type Type uint8

// The types of entries. They mirror the type flags of POSIX tar, plus Whiteout,
// which OCI layers spell as a file named ".wh.NAME" (OCI image spec, layer.md).
const (
	Regular Type = iota + 1
	Directory
	Symlink
	Hardlink
	CharDevice
	BlockDevice
	Fifo
	Whiteout
)

// Entry says what one layer records about one path. Entries are plain values; those
// inside an [Index] are shared and must not be modified.
type Entry struct {
	// Path is slash-separated, clean and relative to the root, with no leading
	// slash; the root directory itself is "".
	Path string
	Type Type
	// Opaque hides all children that lower layers have in this directory. Only
	// for Directory.
	Opaque bool
	// Mode holds the permission, setuid, setgid and sticky bits: 0 to 07777, in
	// the encoding of chmod(2), not of io/fs.
	Mode uint16
	// UID and GID are the numeric owner and group.
	UID, GID uint32
	// ModTime is in UTC with nanosecond resolution.
	ModTime time.Time
	// Size is the length of the content in bytes. Only for Regular.
	Size int64
	// Link is the target of a Symlink, verbatim, or for a Hardlink the Path of
	// the entry whose inode it shares: an entry of the same layer, or a file of a
	// layer below.
	Link string
	// Major and Minor are the device numbers of CharDevice and BlockDevice.
	Major, Minor uint32
	// Xattrs are all extended attributes by full name ("security.capability"),
	// nil when there are none. Values are bytes.
	Xattrs map[string]string
	// Sum is the SHA-256 of a Regular entry's content; the zero value means that
	// it has not been computed.
	Sum Sum
}

// Sum is a SHA-256 digest. Its zero value stands for "not computed".
type Sum [32]byte

// IsZero reports whether the sum has not been computed.
func (s Sum) IsZero() bool { return s == Sum{} }
