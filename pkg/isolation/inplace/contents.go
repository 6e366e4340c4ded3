package inplace

import (
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

// copyContents copies the contents of regular files from one directory to another, where they are
// named by their position, and makes files refer to the copies.
func copyContents(ctx context.Context, from, to *os.Root, files []layer.DirFile) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range files {
		f := &files[i]
		if f.Type != layer.Regular {
			continue
		}
		if f.Size == 0 {
			f.Stamp = layer.Stamp{}
			continue
		}
		g.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			f.Source = strconv.Itoa(i)
			if err := copyContent(from, to, f); err != nil {
				return fmt.Errorf("isolation: keeping /%s: %w", f.Path, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func copyContent(from, to *os.Root, f *layer.DirFile) (err error) {
	in, err := from.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(f.Source, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
	f.Stamp, err = layer.StampOf(info)
	return err
}
