package inplace

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/layer/layertest"
)

// lentFiles makes a lent layer of files in a directory, and what keeps copies of them.
func lentFiles(t *testing.T) (l *lent, dir string, keep keeper) {
	t.Helper()
	dir = t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &Backend{contents: t.TempDir()}
	t.Cleanup(func() {
		for _, c := range append(b.opened, l) {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	var files []layer.DirFile
	for _, name := range []string{"large", "small"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content(name)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), modified, modified); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		f := layer.DirFile{Entry: layer.Entry{Path: name, Type: layer.Regular, Mode: 0o644, Size: info.Size(), ModTime: modified}}
		if f.Stamp, err = layer.StampOf(info); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if l, err = lend(t.Context(), root, len(files), slices.Values(files)); err != nil {
		t.Fatal(err)
	}
	return l, dir, b.preserve
}

// modified is when the files were.
var modified = time.Unix(1_700_000_000, 0).UTC()

// content is that of a file: one that is copied by itself, and one that is kept with others.
func content(name string) string {
	if name == "large" {
		return string(make([]byte, smallFile+1))
	}
	return name
}

// A lent layer keeps the contract before it is settled, and after its directory was emptied.
func TestLentLayer(t *testing.T) {
	var want []layertest.Want
	for _, name := range []string{"large", "small"} {
		want = append(want, layertest.Want{Entry: layer.Entry{Path: name, Type: layer.Regular, Mode: 0o644, ModTime: modified}, Content: content(name)})
	}
	t.Run("in the directory", func(t *testing.T) {
		layertest.Run(t, func(t *testing.T) layer.Layer {
			l, _, _ := lentFiles(t)
			return l
		}, want)
	})
	t.Run("copied", func(t *testing.T) {
		layertest.Run(t, func(t *testing.T) layer.Layer {
			l, dir, keep := lentFiles(t)
			err := l.settle(t.Context(), keep)
			for _, w := range want {
				err = errors.Join(err, os.Remove(filepath.Join(dir, w.Path)))
			}
			if err != nil {
				t.Fatal(err)
			}
			return l
		}, want)
	})
}

// Who reads in the directory is waited for, and can open another file meanwhile.
func TestSettleWaitsForReaders(t *testing.T) {
	l, _, keep := lentFiles(t)
	r, err := l.Open(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	copied := make(chan struct{})
	settled := make(chan error, 1)
	go func() {
		settled <- l.settle(t.Context(), func(ctx context.Context, root *os.Root, there layer.Layer, index *layer.Index) (layer.Layer, error) {
			defer close(copied)
			return keep(ctx, root, there, index)
		})
	}()
	<-copied
	other, err := l.Open(t.Context(), "small")
	if err != nil {
		t.Fatal(err)
	}
	read(t, other)
	select {
	case err := <-settled:
		t.Fatalf("settled while a file is being read: %v", err)
	default:
	}
	read(t, r)
	if err := <-settled; err != nil {
		t.Error(err)
	}
}

func read(t *testing.T, r io.ReadCloser) {
	t.Helper()
	_, err := io.Copy(io.Discard, r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Error(err)
	}
}

// A settling that fails leaves the layer as it was, and one that is canceled does not wait.
func TestSettleFails(t *testing.T) {
	l, _, keep := lentFiles(t)
	failure := errors.New("no space")
	err := l.settle(t.Context(), func(context.Context, *os.Root, layer.Layer, *layer.Index) (layer.Layer, error) { return nil, failure })
	if !errors.Is(err, failure) {
		t.Errorf("error is %v", err)
	}
	r, err := l.Open(t.Context(), "small")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err = l.settle(ctx, func(ctx context.Context, root *os.Root, there layer.Layer, index *layer.Index) (layer.Layer, error) {
		defer cancel()
		return keep(ctx, root, there, index)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// What somebody else changed meanwhile is no content of the layer.
func TestSettleNoticesChanges(t *testing.T) {
	for _, name := range []string{"large", "small"} {
		l, dir, keep := lentFiles(t)
		if err := os.Chtimes(filepath.Join(dir, name), modified, modified.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		var changed *layer.ChangedError
		if err := l.settle(t.Context(), keep); !errors.As(err, &changed) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
