package pod

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Snapshot is the state of all files below a directory, by their path in it; the directory
// itself is ".".
type Snapshot map[string]File

// File is the state of one file. Files are equal when their states are.
type File struct {
	// Mode are type and permissions as in stat(2).
	Mode     uint32
	UID, GID uint32
	// Modified is the time of the last modification, in nanoseconds since 1970.
	Modified int64
	// Links is the number of hard links; 0 for a directory.
	Links uint64
	// Device is the number of a device node.
	Device uint64
	// Target is where a symbolic link points to.
	Target string
	// Content is the SHA-256 of a regular file's content, in hexadecimal.
	Content string
	// Xattrs are the extended attributes, as NAME=VALUE lines.
	Xattrs string
}

// Change is one difference between two snapshots.
type Change struct {
	Path string
	// What says what differs.
	What string
}

func (c Change) String() string { return c.Path + ": " + c.What }

// TakeSnapshot reads everything below dir, which must not change meanwhile. Owners are
// reduced by shift, the first id of the user namespace whose files these are.
func TakeSnapshot(dir string, shift int) (Snapshot, error) {
	snapshot := Snapshot{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		file, err := stateOf(path)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		file.UID -= uint32(shift)
		file.GID -= uint32(shift)
		snapshot[name] = file
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("taking a snapshot: %w", err)
	}
	return snapshot, nil
}

func stateOf(path string) (File, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return File{}, err
	}
	file := File{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Modified: st.Mtim.Nano(), Links: uint64(st.Nlink)}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		// What this counts depends on the filesystem.
		file.Links = 0
	case unix.S_IFLNK:
		file.Target, err = os.Readlink(path)
	case unix.S_IFREG:
		file.Content, err = digest(path)
	case unix.S_IFBLK, unix.S_IFCHR:
		file.Device = st.Rdev
	}
	if err != nil {
		return File{}, err
	}
	file.Xattrs, err = xattrs(path)
	return file, err
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func xattrs(path string) (string, error) {
	names := make([]byte, 64<<10) // the kernel's limit, XATTR_LIST_MAX
	n, err := unix.Llistxattr(path, names)
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("listing extended attributes: %w", err)
	}
	var lines []string
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("reading the extended attribute %s: %w", name, err)
		}
		lines = append(lines, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// Diff lists what is different in a later snapshot, in the order of the paths.
func (s Snapshot) Diff(later Snapshot) []Change {
	var changes []Change
	for name, old := range s {
		now, there := later[name]
		switch {
		case !there:
			changes = append(changes, Change{name, "removed"})
		case old != now:
			changes = append(changes, Change{name, difference(old, now)})
		}
	}
	for name := range maps.Keys(later) {
		if _, there := s[name]; !there {
			changes = append(changes, Change{name, "added"})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return changes
}

// trees are what a build with isolation inplace leaves to the end of its container: the unpacked trees of its RUNs, and the
// lock that the next build takes.
var trees = regexp.MustCompile(`^/?\.slipway(/lock|/t[0-9]+(/.*)?)?$`)

// LeftTree says whether path, in a container's root, is something that a build leaves there unless it has --cleanup.
func LeftTree(path string) bool { return trees.MatchString(path) }

// BesideTrees leaves out of changes what is LeftTree.
func BesideTrees(changes []Change) []Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return LeftTree(c.Path) })
}

func difference(old, now File) string {
	var parts []string
	add := func(what, format string, a, b any) {
		if a != b {
			parts = append(parts, fmt.Sprintf("%s was "+format+", is "+format, what, a, b))
		}
	}
	add("mode", "%#o", old.Mode, now.Mode)
	add("user", "%d", old.UID, now.UID)
	add("group", "%d", old.GID, now.GID)
	add("modification time", "%d", old.Modified, now.Modified)
	add("number of links", "%d", old.Links, now.Links)
	add("device", "%#x", old.Device, now.Device)
	add("link target", "%q", old.Target, now.Target)
	add("content", "%.12s", old.Content, now.Content)
	add("extended attributes", "%q", old.Xattrs, now.Xattrs)
	return strings.Join(parts, "; ")
}
