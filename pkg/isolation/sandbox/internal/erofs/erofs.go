// Package erofs writes images of EROFS, the read-only filesystem of Linux
// (https://docs.kernel.org/filesystems/erofs.html), in the simplest form that the format has and every
// reader understands: no compression, no extended attributes, one device. The content of a regular
// file is contiguous and starts at a block, so that a reader can map it into memory where it is.
//
// An image's blocks are as large as the pages of this machine, because gVisor maps images. So an
// image is for the machine that made it.
//
// The parts of an image, in this order:
//
//   - one block with the superblock,
//   - the inodes, that of the root first, each followed by the end of its directory or symbolic link
//     where that fits into the inode's block,
//   - the blocks of directories and symbolic links that are not with the inodes,
//   - the contents of files, in the order of the nodes.
//
// The same nodes in the same order make the same bytes.
package erofs

import (
	"context"
	"io"
	"os"
	"time"
)

// Node is one file of an image.
type Node struct {
	// Path is clean, relative and separated by slashes; "" is the root directory. Every parent is a
	// node of its own, and a directory.
	Path string
	// Mode has the type and permissions as st_mode does (inode(7)). Sockets are not supported.
	Mode     uint32
	UID, GID uint32
	// ModTime is the epoch if it is the zero Time.
	ModTime time.Time
	// Size is that of a regular file's content, in bytes.
	Size int64
	// Link is the target of a symbolic link.
	Link string
	// Major and Minor are the numbers of a device. A character device 0, 0 is a whiteout of overlayfs.
	Major, Minor uint32
	// HardlinkTo is the path of a node that is neither a directory nor a hard link. If it is not
	// empty, this node is a further name of that one, and nothing else but Path counts.
	HardlinkTo string
}

// Write writes an image to w in one pass, front to back, and returns its size in bytes.
//
// The nodes are in any order. open gives the content of nodes[i], which must be exactly as long as
// the node says. It is called once for each regular file that is not empty, in the order of nodes;
// what it returns is read and closed before the next call. Nodes that cannot be an image are
// an error before anything is written.
func Write(ctx context.Context, w io.Writer, nodes []Node, open func(ctx context.Context, i int) (io.ReadCloser, error)) (int64, error) {
	return write(ctx, w, nodes, open, int64(os.Getpagesize()))
}

// write is Write with blocks of that many bytes.
func write(ctx context.Context, w io.Writer, nodes []Node, open func(ctx context.Context, i int) (io.ReadCloser, error), blockSize int64) (int64, error) {
	inodes, err := link(nodes)
	if err != nil {
		return 0, err
	}
	l := &layout{blockSize: blockSize, nodes: nodes, inodes: inodes}
	if err := l.place(); err != nil {
		return 0, err
	}
	out := newOutput(ctx, w)
	if err := l.writeMetadata(out); err != nil {
		return 0, err
	}
	if err := l.writeContents(ctx, out, open); err != nil {
		return 0, err
	}
	if err := out.flush(); err != nil {
		return 0, err
	}
	return out.written, nil
}
