package erofs

import "encoding/binary"

// A directory is a sequence of blocks, each with as many of the sorted entries as fit: first what has a fixed size
// of each, then the names. A reader learns how many there are from where the first name starts. Only the last block
// is shorter than a block.

// blockful is how many of the entries fit into the next block, and how many bytes of it they take.
func blockful(entries []entry, blockSize int64) (n int, size int64) {
	for n < len(entries) {
		more := direntSize + int64(len(entries[n].name))
		if size+more > blockSize {
			break
		}
		size += more
		n++
	}
	return n, size
}

// directorySize is how many bytes a directory of these entries has.
func directorySize(entries []entry, blockSize int64) int64 {
	var size int64
	for {
		n, last := blockful(entries, blockSize)
		if entries = entries[n:]; len(entries) == 0 {
			return size + last
		}
		size += blockSize
	}
}

// appendDirectory appends the data of a directory.
func (l *layout) appendDirectory(b []byte, entries []entry) []byte {
	for {
		n, size := blockful(entries, l.blockSize)
		b = l.appendBlockful(b, entries[:n])
		if entries = entries[n:]; len(entries) == 0 {
			return b
		}
		b = append(b, make([]byte, l.blockSize-size)...)
	}
}

func (l *layout) appendBlockful(b []byte, entries []entry) []byte {
	le := binary.LittleEndian
	name := len(entries) * direntSize
	for _, e := range entries {
		f := &l.inodes[e.inode]
		b = le.AppendUint64(b, f.number())
		b = le.AppendUint16(b, uint16(name))
		b = append(b, fileType(l.node(f).Mode), 0)
		name += len(e.name)
	}
	for _, e := range entries {
		b = append(b, e.name...)
	}
	return b
}
