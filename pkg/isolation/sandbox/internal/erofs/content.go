package erofs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// writeMetadata writes all that comes before the contents of files.
func (l *layout) writeMetadata(out *output) error {
	if err := out.seek(superblockOffset); err != nil {
		return err
	}
	if err := out.write(l.appendSuperblock(nil)); err != nil {
		return err
	}
	var buf []byte
	for i := range l.inodes {
		f := &l.inodes[i]
		if err := out.seek(f.offset); err != nil {
			return err
		}
		buf = l.appendInode(buf[:0], i)
		if f.tail > 0 {
			inode := len(buf)
			buf = l.appendData(buf, f)
			buf = append(buf[:inode], buf[len(buf)-int(f.tail):]...)
		}
		if err := out.write(buf); err != nil {
			return err
		}
	}
	for i := range l.inodes {
		f := &l.inodes[i]
		if f.block == 0 || l.node(f).is(unix.S_IFREG) {
			continue
		}
		if err := l.seekBlock(out, f.block); err != nil {
			return err
		}
		buf = l.appendData(buf[:0], f)
		if err := out.write(buf[:len(buf)-int(f.tail)]); err != nil {
			return err
		}
	}
	return nil
}

// appendData appends the data of a directory or symbolic link.
func (l *layout) appendData(b []byte, f *inode) []byte {
	if n := l.node(f); n.is(unix.S_IFLNK) {
		return append(b, n.Link...)
	}
	return l.appendDirectory(b, f.entries)
}

// writeContents writes the contents of files, and fills the last block.
func (l *layout) writeContents(ctx context.Context, out *output, open func(context.Context, int) (io.ReadCloser, error)) error {
	for i := range l.inodes {
		f := &l.inodes[i]
		if f.size == 0 || !l.node(f).is(unix.S_IFREG) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := l.seekBlock(out, f.block); err != nil {
			return err
		}
		if err := writeContent(ctx, out, f, open); err != nil {
			return fmt.Errorf("writing %q into an image: %w", l.node(f).Path, err)
		}
	}
	return out.seek(l.blocks * l.blockSize)
}

func writeContent(ctx context.Context, out *output, f *inode, open func(context.Context, int) (io.ReadCloser, error)) error {
	r, err := open(ctx, f.node)
	if err != nil {
		return err
	}
	return errors.Join(out.copy(r, f.size), r.Close())
}

func (l *layout) seekBlock(out *output, block uint32) error {
	return out.seek(int64(block) * l.blockSize)
}
