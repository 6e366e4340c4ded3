package sbom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/stream"
	"github.com/slipway-build/slipway/pkg/tree"
)

// The sizes of contents, in bytes, that are spooled if they cannot be read in place.
const (
	inMemory   = 256 << 10 // the largest that is spooled into memory instead of a file
	maxSpooled = 1 << 30   // the largest that is spooled
)

// errTooLarge says that a content cannot be spooled.
var errTooLarge = fmt.Errorf("it has more than %d bytes, and cannot be read where it is", maxSpooled)

// content is the content of one file. It can be read from any place: extractors read
// programs and archives from their ends.
type content struct {
	*io.SectionReader
	file io.Closer // nil if there is nothing to close
	// unchanged says whether what has been read is the content; nil for yes.
	unchanged func() error
}

// Close gives back what the content takes.
func (c *content) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// verify fails if the content has changed since it was opened.
func (c *content) verify() error {
	if c.unchanged == nil {
		return nil
	}
	return c.unchanged()
}

// openContent opens the content of a regular file. Where its layer is a tar, or a directory, it is
// read in place. Otherwise it is spooled: into memory if it is small, else into a file of the
// temporary area that has no name any more.
func openContent(ctx context.Context, n *tree.Node, dir *state.Dir) (*content, error) {
	return openIf(ctx, n, dir, func([]byte) bool { return true })
}

// startLength is how many bytes [openIf] looks at.
const startLength = 4

// openIf is openContent for a file whose beginning has to be right: nil if it is not.
func openIf(ctx context.Context, n *tree.Node, dir *state.Dir, right func(start []byte) bool) (*content, error) {
	c, stream, err := openInPlace(ctx, n)
	if err != nil {
		return nil, err
	}
	start := make([]byte, min(n.Entry().Size, startLength))
	if c != nil {
		if _, err = c.ReadAt(start, 0); err == nil && right(start) {
			return c, nil
		}
		return nil, errors.Join(err, c.Close())
	}
	if _, err = io.ReadFull(stream, start); err == nil && right(start) {
		c, err = spool(ctx, io.MultiReader(bytes.NewReader(start), stream), n.Entry().Size, dir)
	}
	return c, errors.Join(err, stream.Close())
}

// openInPlace opens a content where it lies, or else as a stream.
func openInPlace(ctx context.Context, n *tree.Node) (*content, io.ReadCloser, error) {
	at, err := inTar(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	if at != nil {
		return &content{SectionReader: at}, nil, nil
	}
	stream, err := n.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if file, unchanged, ok := layer.RandomAccess(stream); ok {
		return &content{SectionReader: io.NewSectionReader(file, 0, n.Entry().Size), file: stream, unchanged: unchanged}, nil, nil
	}
	return nil, stream, nil
}

// inTar returns the part of the layer's tar that is the content of n, nil if there is none.
func inTar(ctx context.Context, n *tree.Node) (*io.SectionReader, error) {
	l, ok := n.Layer().(layer.Tarred)
	if !ok {
		return nil, nil
	}
	t, err := l.Tar(ctx)
	if err != nil {
		return nil, err
	}
	e := n.Entry()
	i, ok := t.Index().Find(e.Path)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fs.ErrNotExist}
	}
	offset, contiguous := t.Extent(i)
	if !contiguous {
		return nil, nil
	}
	return io.NewSectionReader(t.ReaderAt(), offset, e.Size), nil
}

func spool(ctx context.Context, r io.Reader, size int64, dir *state.Dir) (_ *content, err error) {
	r = stream.Reader(ctx, r)
	if size <= inMemory {
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		return &content{SectionReader: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}, nil
	}
	if size > maxSpooled {
		return nil, errTooLarge
	}
	f, err := dir.TempFile()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		return nil, fmt.Errorf("keeping a copy: %w", err)
	}
	return &content{SectionReader: io.NewSectionReader(f, 0, size), file: f}, nil
}

// openFile is a content as an fs.File.
type openFile struct {
	*content
	info info
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// openDir is an open directory.
type openDir struct {
	info    info
	entries []fs.DirEntry // still to be given
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.entries)
	} else if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	out := d.entries[:n:n]
	d.entries = d.entries[n:]
	return out, nil
}
