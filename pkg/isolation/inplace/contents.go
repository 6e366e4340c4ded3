package inplace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
)

// smallFile is the size in bytes up to which contents are kept behind each other in one file: making a file of its own for
// each takes several times as long as copying it.
const smallFile = 64 << 10

// preserve returns the layer of files, whose contents are in the directory from, with copies of the contents in the directory to.
// What is opened for them is added to b.opened.
func (b *Backend) preserve(ctx context.Context, from, to *os.Root, files []layer.DirFile) (layer.Layer, error) {
	source, err := layer.FromDir(from, files)
	if err != nil {
		return nil, err
	}
	index, err := source.Index(ctx)
	if err != nil {
		return nil, err
	}
	k := &keeper{from: from, to: to, source: source, index: index, files: make([]layer.File, index.Len()), next: make(chan int)}
	for i := range k.files {
		k.files[i].Entry = *index.At(i)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		spool, err := to.OpenFile("small-"+b.id("c"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("isolation: %w", err), g.Wait())
		}
		b.opened = append(b.opened, spool)
		g.Go(func() error { return k.work(ctx, spool) })
	}
	g.Go(func() error { return k.list(ctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return layer.New(k.files)
}

// keeper copies contents.
type keeper struct {
	from, to *os.Root
	source   layer.Layer
	index    *layer.Index
	files    []layer.File // each worked on by one goroutine
	next     chan int
}

// list gives out what is to be copied.
func (k *keeper) list(ctx context.Context) error {
	defer close(k.next)
	for i := range k.files {
		if f := &k.files[i]; f.Type != layer.Regular || f.Size == 0 {
			continue
		}
		select {
		case k.next <- i:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// work copies one file after the other, the small ones to spool.
func (k *keeper) work(ctx context.Context, spool *os.File) error {
	var at int64
	w := bufio.NewWriterSize(spool, 256<<10)
	for i := range k.next {
		f := &k.files[i]
		var err error
		if f.Size <= smallFile {
			f.Content = &section{spool, at, f.Size}
			at += f.Size
			err = k.append(ctx, w, i)
		} else {
			f.Content = &copied{k.to, strconv.Itoa(i)}
			err = copyContent(k.from, k.to, f, strconv.Itoa(i))
		}
		if err != nil {
			return fmt.Errorf("isolation: keeping /%s: %w", f.Path, err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("isolation: keeping changes: %w", err)
	}
	return nil
}

// append copies the content of file i to w.
func (k *keeper) append(ctx context.Context, w io.Writer, i int) error {
	r, err := layer.OpenAt(ctx, k.source, k.index, i)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r) // gives as many bytes as the entry says, or an error
	return errors.Join(err, r.Close())
}

// copyContent copies the content of f to a file of its own.
func copyContent(from, to *os.Root, f *layer.File, name string) (err error) {
	in, err := from.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Where the filesystem can share the blocks, nothing is copied.
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.Size {
		return &layer.ChangedError{Path: f.Path}
	}
	return nil
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
