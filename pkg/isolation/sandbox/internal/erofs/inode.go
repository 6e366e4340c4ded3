package erofs

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxName = 255
	// maxLink is what readlink(2) of Linux returns at most: a page of 4 KiB less the final NUL.
	maxLink = 4095
	// Device numbers have 32 bits in the format.
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// inode is what one or more names of an image stand for.
type inode struct {
	node    int // in the list of nodes
	links   uint32
	entries []entry // of a directory, in the order of names, with "." and ".."

	// Where it is in the image; layout sets them.
	offset int64  // of the inode, bytes
	size   int64  // of its data, bytes
	tail   int64  // how many of these follow the inode, bytes
	block  uint32 // where the others start
}

// entry is one name in a directory.
type entry struct {
	name  string
	inode int
}

// link makes inodes of nodes: that of the root, then the others in the order of nodes.
func link(nodes []Node) ([]inode, error) {
	byPath := make(map[string]int, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("%q cannot be in an image: %w", n.Path, err)
		}
		if _, twice := byPath[n.Path]; twice {
			return nil, fmt.Errorf("%q cannot be in an image twice", n.Path)
		}
		byPath[n.Path] = i
	}
	root, ok := byPath[""]
	if !ok {
		return nil, errors.New("an image must have a root directory")
	}
	inodes, inodeOf := number(nodes, root)
	directory := func(p string) (int, bool) {
		i, ok := byPath[p]
		return inodeOf[i], ok && nodes[i].is(unix.S_IFDIR)
	}
	for i := range nodes {
		n := &nodes[i]
		if n.HardlinkTo != "" {
			target, ok := byPath[n.HardlinkTo]
			if !ok || nodes[target].HardlinkTo != "" || nodes[target].is(unix.S_IFDIR) {
				return nil, fmt.Errorf("%q cannot be a hard link to %q, which is not a file of the image with an inode of its own", n.Path, n.HardlinkTo)
			}
			inodeOf[i] = inodeOf[target]
		}
		if err := enter(n, inodes, inodeOf[i], directory); err != nil {
			return nil, err
		}
	}
	for i := range inodes {
		slices.SortFunc(inodes[i].entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	}
	return inodes, nil
}

// number makes inodes, still without names, for all nodes that have one of their own, and says which
// node has which. The root's is the first because the superblock has only 16 bits for its place.
func number(nodes []Node, root int) (inodes []inode, inodeOf []int) {
	inodes = append(make([]inode, 0, len(nodes)), inode{node: root})
	inodeOf = make([]int, len(nodes))
	for i := range nodes {
		if i != root && nodes[i].HardlinkTo == "" {
			inodeOf[i] = len(inodes)
			inodes = append(inodes, inode{node: i})
		}
	}
	return inodes, inodeOf
}

// enter gives the inode self of n its name in its parent, and a directory its own names.
func enter(n *Node, inodes []inode, self int, directory func(string) (int, bool)) error {
	parent := self // of the root
	if n.Path != "" {
		dir, name := path.Split(n.Path)
		var ok bool
		if parent, ok = directory(strings.TrimSuffix(dir, "/")); !ok {
			return fmt.Errorf("%q cannot be in an image: its parent is not a directory of it", n.Path)
		}
		inodes[parent].entries = append(inodes[parent].entries, entry{name, self})
		inodes[self].links++
	}
	if n.is(unix.S_IFDIR) {
		inodes[self].entries = append(inodes[self].entries, entry{".", self}, entry{"..", parent})
		inodes[self].links++
		inodes[parent].links++
	}
	return nil
}

// is reports whether n is a file, with an inode of its own, of the type that a mode has.
func (n *Node) is(mode uint32) bool { return n.HardlinkTo == "" && n.Mode&unix.S_IFMT == mode }

// check reports what of n alone cannot be in an image.
func (n *Node) check() error {
	if err := checkPath(n.Path); err != nil {
		return err
	}
	if n.Path == "" && !n.is(unix.S_IFDIR) {
		return errors.New("the root must be a directory")
	}
	if n.HardlinkTo != "" {
		return nil
	}
	if n.Mode>>16 != 0 || fileType(n.Mode) == 0 {
		return fmt.Errorf("its mode %#o has no supported type", n.Mode)
	}
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if n.Size < 0 {
			return fmt.Errorf("its size is %d bytes", n.Size)
		}
	case unix.S_IFLNK:
		if len(n.Link) == 0 || len(n.Link) > maxLink || strings.ContainsRune(n.Link, 0) {
			return fmt.Errorf("its target must have 1 to %d bytes and no NUL", maxLink)
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if n.Major > maxMajor || n.Minor > maxMinor {
			return fmt.Errorf("its device number %d, %d is too large", n.Major, n.Minor)
		}
	}
	return nil
}

func checkPath(p string) error {
	if p == "" {
		return nil
	}
	if strings.ContainsRune(p, 0) {
		return errors.New("its path has a NUL")
	}
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." || name == ".." {
			return errors.New("its path is not clean and relative")
		}
		if len(name) > maxName {
			return fmt.Errorf("its path has a name of more than %d bytes", maxName)
		}
	}
	return nil
}
