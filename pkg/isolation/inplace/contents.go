package inplace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
)

// smallFile is the size in bytes up to which contents are kept behind each other in one file: making a file of its own for
// each takes several times as long as copying it.
const smallFile = 64 << 10

// preserve returns the layer from, whose index is given and whose contents are in the directory root, with copies of the contents.
// What stays open for them is added to b.opened.
func (b *Backend) preserve(ctx context.Context, root *os.Root, from layer.Layer, index *layer.Index) (layer.Layer, error) {
	dir := filepath.Join(b.contents, b.id("l"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	to, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	b.opened = append(b.opened, to)
	file, err := to.OpenFile("small", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	b.opened = append(b.opened, file)
	small := newSpool(file)
	kept := make([]layer.File, index.Len())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range kept {
		f := &kept[i]
		f.Entry = *index.At(i)
		if f.Type != layer.Regular || f.Size == 0 {
			continue
		}
		g.Go(func() (err error) {
			if err = context.Cause(ctx); err != nil {
				return err
			}
			open := func() (io.ReadCloser, error) { return layer.OpenAt(ctx, from, index, i) }
			if f.Size > smallFile {
				f.Content, err = copyContent(root, to, f, strconv.Itoa(i))
				err = errors.Join(err, unchanged(open))
			} else {
				f.Content, err = small.take(open())
			}
			if err != nil {
				return fmt.Errorf("isolation: keeping /%s: %w", f.Path, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := small.w.Flush(); err != nil {
		return nil, fmt.Errorf("isolation: keeping changes: %w", err)
	}
	return layer.New(kept)
}

// spool keeps contents behind each other in a file.
type spool struct {
	file *os.File

	mu   sync.Mutex
	w    *bufio.Writer
	size int64
}

func newSpool(file *os.File) *spool {
	// Without the file's ReadFrom, which would write each content by itself.
	return &spool{file: file, w: bufio.NewWriterSize(struct{ io.Writer }{file}, 256<<10)}
}

// take appends what was opened, and closes it.
func (s *spool) take(r io.ReadCloser, err error) (layer.Content, error) {
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.size
	n, err := io.Copy(s.w, r) // as many bytes as the entry says, or an error
	s.size += n
	return &section{s.file, at, n}, errors.Join(err, r.Close())
}

// copyContent copies the content of f to a file of its own.
func copyContent(from, to *os.Root, f *layer.File, name string) (_ layer.Content, err error) {
	in, err := from.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Where the filesystem can share the blocks, nothing is copied.
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return nil, err
		}
	}
	info, err := out.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != f.Size {
		return nil, &layer.ChangedError{Path: f.Path}
	}
	return &copied{to, name}, nil
}

// unchanged says whether a layer still opens a file: it does not if that has changed.
func unchanged(open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return err
	}
	return r.Close()
}

// section is content in a file with that of others.
type section struct {
	file     *os.File
	at, size int64
}

// Open implements layer.Content.
func (s *section) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, s.at, s.size)), nil
}

// copied is content in a file of its own.
type copied struct {
	dir  *os.Root
	name string
}

// Open implements layer.Content.
func (c *copied) Open(context.Context) (io.ReadCloser, error) { return c.dir.Open(c.name) }
