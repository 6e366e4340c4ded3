package erofs

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"golang.org/x/sys/unix"
)

// Numbers of the format, as fs/erofs/erofs_fs.h of Linux has them. All integers are little-endian.
const (
	magic            = 0xe0f5e1e2
	superblockOffset = 1024 // bytes from the start of the image
	superblockSize   = 128  // bytes

	// Features that readers may ignore: the superblock has a checksum; inodes have times of modification.
	featureChecksum = 1 << 0
	featureModTime  = 1 << 1

	slotSize   = 32 // bytes; the number of an inode is its offset in slots
	inodeSize  = 64 // bytes, of the extended form
	direntSize = 12 // bytes, without the name

	formatExtended = 1      // has times and 32-bit owners
	formatPlain    = 0 << 1 // all data is in blocks
	formatInline   = 2 << 1 // what does not fill a block follows the inode
)

// appendSuperblock appends the superblock, and what follows it in its block.
func (l *layout) appendSuperblock(b []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, magic)
	b = le.AppendUint32(b, 0) // checksum, below
	b = le.AppendUint32(b, featureChecksum|featureModTime)
	b = append(b, byte(bits.TrailingZeros64(uint64(l.blockSize))), 0) // no extension slots
	b = le.AppendUint16(b, uint16(l.inodes[0].number()))
	b = le.AppendUint64(b, uint64(len(l.inodes)))
	b = le.AppendUint64(b, 0) // time of the image, seconds: unset, so that images can be reproduced
	b = le.AppendUint32(b, 0) // nanoseconds
	b = le.AppendUint32(b, uint32(l.blocks))
	// The rest is zero: inodes are numbered from the start of the image, there are no shared
	// attributes, no UUID or name, and no features that readers must know.
	b = append(b, make([]byte, int(l.blockSize)-superblockOffset-(len(b)-start))...)
	sum := ^crc32.Checksum(b[start:], crc32.MakeTable(crc32.Castagnoli)) // the format's is not inverted at the end
	le.PutUint32(b[start+4:], sum)
	return b
}

// number is how directories call f. It is never 0, as nothing is before the superblock.
func (f *inode) number() uint64 { return uint64(f.offset) / slotSize }

// appendInode appends the i-th inode, without its tail.
func (l *layout) appendInode(b []byte, i int) []byte {
	f, n := &l.inodes[i], l.node(&l.inodes[i])
	format := uint16(formatExtended | formatPlain)
	if f.tail > 0 {
		format = formatExtended | formatInline
	}
	where := f.block
	if n.is(unix.S_IFCHR) || n.is(unix.S_IFBLK) {
		where = n.Minor&0xff | n.Major<<8 | (n.Minor&^0xff)<<12
	}
	var seconds, nanoseconds int64
	if !n.ModTime.IsZero() {
		seconds, nanoseconds = n.ModTime.Unix(), int64(n.ModTime.Nanosecond())
	}
	le := binary.LittleEndian
	b = le.AppendUint16(b, format)
	b = le.AppendUint16(b, 0) // no attributes
	b = le.AppendUint16(b, uint16(n.Mode))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, uint64(f.size))
	b = le.AppendUint32(b, where)
	b = le.AppendUint32(b, uint32(i+1)) // what 32-bit programs get for the number
	b = le.AppendUint32(b, n.UID)
	b = le.AppendUint32(b, n.GID)
	b = le.AppendUint64(b, uint64(seconds))
	b = le.AppendUint32(b, uint32(nanoseconds))
	b = le.AppendUint32(b, f.links)
	return append(b, make([]byte, 16)...)
}

// fileType is how entries of directories call the type of a mode, 0 if the format or this package has none.
func fileType(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 1
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	case unix.S_IFLNK:
		return 7
	}
	return 0
}
