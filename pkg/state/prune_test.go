package state_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/state"
)

func closeDir(t *testing.T, d *state.Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// made makes an object, a file or a directory with one, of so many bytes.
func made(t *testing.T, d *state.Dir, kind, name string, size int) {
	t.Helper()
	content := []byte(strings.Repeat("x", size))
	var err error
	if kind == "unpacked" {
		_, err = d.Tree(t.Context(), kind, name, func(_ context.Context, dir string) error {
			// Its time is that of the layer's directory.
			return errors.Join(os.WriteFile(filepath.Join(dir, "file"), content, 0o600), os.Chtimes(dir, time.Unix(1, 0), time.Unix(1, 0)))
		})
	} else {
		var f *os.File
		f, err = d.File(t.Context(), kind, name, func(_ context.Context, f *os.File) error {
			_, err := f.Write(content)
			return err
		})
		if err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func names(objects []state.Object) string {
	var all []string
	for _, x := range objects {
		all = append(all, x.Kind+"/"+x.Name)
	}
	return strings.Join(all, " ")
}

// TestPrune has a first build leave objects of 100 bytes, of which a second one uses some.
func TestPrune(t *testing.T) {
	all := []string{"blobs/a", "unpacked/b", "blobs/c", "unpacked/d", "tars/e"}
	for _, test := range []struct {
		name    string
		options state.PruneOptions
		use     []string
		running bool // the second build
		want    string
	}{
		{"nothing is asked for", state.PruneOptions{}, nil, false, ""},
		{"all are young enough", state.PruneOptions{MaxAge: time.Hour}, nil, false, ""},
		{"age", state.PruneOptions{MaxAge: time.Nanosecond}, nil, false, "blobs/a unpacked/b blobs/c unpacked/d tars/e"},
		{"size", state.PruneOptions{MaxSize: 250}, nil, false, "blobs/a unpacked/b blobs/c"},
		{"size, the oldest used lately", state.PruneOptions{MaxSize: 250}, []string{"blobs/a", "unpacked/b"}, false, "blobs/c unpacked/d tars/e"},
		{"age, while a build runs", state.PruneOptions{MaxAge: time.Nanosecond}, []string{"unpacked/d"}, true, "blobs/a unpacked/b blobs/c tars/e"},
		{"size, while a build runs", state.PruneOptions{MaxSize: 1}, []string{"blobs/a", "tars/e"}, true, "unpacked/b blobs/c unpacked/d"},
	} {
		for _, dry := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				path := t.TempDir()
				first := open(t, path)
				for _, x := range all {
					made(t, first, filepath.Dir(x), filepath.Base(x), 100)
					time.Sleep(10 * time.Millisecond) // coarser than the clocks of filesystems
				}
				made(t, first, "cachemounts", "z", 100) // of another kind
				closeDir(t, first)
				time.Sleep(10 * time.Millisecond)
				second := open(t, path)
				for _, x := range test.use {
					made(t, second, filepath.Dir(x), filepath.Base(x), 100)
				}
				if !test.running {
					closeDir(t, second)
				} else {
					defer closeDir(t, second)
				}
				time.Sleep(10 * time.Millisecond)

				d := open(t, path)
				defer closeDir(t, d)
				o := test.options
				o.Kinds, o.DryRun = []string{"blobs", "tars", "unpacked", "git"}, dry
				removed, kept, err := d.Prune(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if names(removed) != test.want || kept != int64(100*(len(all)-len(removed))) {
					t.Errorf("removed are %q, and %d bytes stay", names(removed), kept)
				}
				for _, x := range append(all, "cachemounts/z") {
					gone := !dry && slices.Contains(strings.Fields(test.want), x)
					if _, err := os.Stat(filepath.Join(path, x)); errors.Is(err, fs.ErrNotExist) != gone {
						t.Errorf("%s: %v", x, err)
					}
				}
			})
		}
	}
}

// TestPruneBesideBuilds removes without a pause what builds use: none of them loses what it was given.
func TestPruneBesideBuilds(t *testing.T) {
	path := t.TempDir()
	stop := make(chan struct{})
	var pruner, builds sync.WaitGroup
	removed := 0
	pruner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			d := open(t, path)
			gone, _, err := d.Prune(t.Context(), state.PruneOptions{Kinds: []string{"unpacked", "blobs", "tars"}, MaxAge: time.Nanosecond})
			removed += len(gone)
			closeDir(t, d)
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		builds.Go(func() {
			for round := range 24 {
				b := open(t, path)
				// What was used some builds ago may be gone.
				useBesidePrune(t, b, fmt.Sprint("object-", round%8))
				closeDir(t, b)
			}
		})
	}
	builds.Wait()
	close(stop)
	pruner.Wait()
	if removed == 0 {
		t.Error("nothing was removed at all")
	}
}

func useBesidePrune(t *testing.T, b *state.Dir, name string) {
	for range 3 {
		made(t, b, "unpacked", name, 10)
		made(t, b, "blobs", name, 10)
		time.Sleep(time.Millisecond)
		if _, err := os.Stat(filepath.Join(b.Path(), "unpacked", name, "file")); err != nil {
			t.Errorf("what a running build has was removed: %v", err)
		}
		tmp, err := b.TempFile()
		if err == nil {
			err = errors.Join(b.Publish("tars", name, tmp), tmp.Close())
		}
		if err != nil {
			t.Error(err)
		}
		for _, kind := range []string{"blobs", "tars"} {
			f, err := b.Lookup(kind, name)
			if err != nil {
				t.Errorf("what a running build has was removed: %v", err)
				continue
			}
			_ = f.Close() // only its being there counts
		}
	}
}
