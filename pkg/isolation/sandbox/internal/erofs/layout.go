package erofs

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// layout is where in the image everything is.
type layout struct {
	blockSize int64 // bytes, a power of two
	nodes     []Node
	inodes    []inode
	blocks    int64 // of the whole image
}

// place decides where everything is. All sizes are known, so this needs no content.
func (l *layout) place() error {
	next := l.blockSize // after the superblock's block
	for i := range l.inodes {
		f := &l.inodes[i]
		f.size = l.dataSize(f)
		next = l.placeInode(f, next)
	}
	l.blocks = l.blocksOf(next)
	if err := l.placeData(func(f *inode) bool { return !l.node(f).is(unix.S_IFREG) }); err != nil {
		return err
	}
	// In the order of nodes: the root, which alone is out of it, is a directory.
	return l.placeData(func(f *inode) bool { return l.node(f).is(unix.S_IFREG) })
}

// placeInode gives f the next place at or after the offset next, and returns what is after it. Neither an
// inode nor the tail after it crosses into another block.
func (l *layout) placeInode(f *inode, next int64) int64 {
	if l.node(f).is(unix.S_IFDIR) || l.node(f).is(unix.S_IFLNK) {
		if f.tail = f.size % l.blockSize; f.tail > l.blockSize-inodeSize {
			f.tail = 0
		}
	}
	f.offset = roundUp(next, slotSize)
	if f.offset%l.blockSize+inodeSize+f.tail > l.blockSize {
		f.offset = roundUp(f.offset, l.blockSize)
	}
	return f.offset + inodeSize + f.tail
}

// placeData gives the data of the chosen inodes that is not with them the next blocks.
func (l *layout) placeData(chosen func(*inode) bool) error {
	for i := range l.inodes {
		f := &l.inodes[i]
		n := l.blocksOf(f.size - f.tail)
		if n == 0 || !chosen(f) {
			continue
		}
		// No sum overflows: n is below 2^55, and what l.blocks starts with is in memory.
		if l.blocks+n > math.MaxUint32 {
			return fmt.Errorf("placing %q: an image cannot have more than %d blocks of %d bytes", l.node(f).Path, uint32(math.MaxUint32), l.blockSize)
		}
		f.block = uint32(l.blocks)
		l.blocks += n
	}
	return nil
}

// dataSize is how many bytes of data f has.
func (l *layout) dataSize(f *inode) int64 {
	n := l.node(f)
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return n.Size
	case unix.S_IFLNK:
		return int64(len(n.Link))
	case unix.S_IFDIR:
		return directorySize(f.entries, l.blockSize)
	}
	return 0
}

func (l *layout) node(f *inode) *Node { return &l.nodes[f.node] }

// blocksOf is how many blocks n bytes take.
func (l *layout) blocksOf(n int64) int64 {
	blocks := n / l.blockSize
	if n%l.blockSize != 0 {
		blocks++
	}
	return blocks
}

// roundUp is the next multiple of unit that is not below n.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
