package receiver_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/changes"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/receiver"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// below is a tree that changes are over.
func below(tb testing.TB) *tree.View {
	tb.Helper()
	l, err := layer.New([]layer.File{
		{Entry: layer.Entry{Type: layer.Directory, Mode: 0o755}},
		{Entry: layer.Entry{Path: "d", Type: layer.Directory, Mode: 0o755}},
		{Entry: layer.Entry{Path: "d/f", Type: layer.Regular, Mode: 0o644, Size: 1}, Content: layer.Bytes([]byte("x"))},
	})
	if err != nil {
		tb.Fatal(err)
	}
	v, err := (*tree.Tree)(nil).Push(l).View(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// sent is what a Sender writes of a directory.
func sent(tb testing.TB) []byte {
	tb.Helper()
	dir := tb.TempDir()
	for _, d := range []string{"d", "new"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for name, content := range map[string]string{"d/f": "y", "new/g": "content", "new/empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "new/g"), filepath.Join(dir, "h")); err != nil {
		tb.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer root.Close()
	var out bytes.Buffer
	s := changes.NewSender(&out)
	if err := s.Send(3, root, time.Now()); err != nil {
		tb.Fatal(err)
	}
	if err := s.End(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// receive reads everything of a stream: the numbers of the directories, and their layers.
func receive(tb testing.TB, data []byte, v *tree.View) (numbers []int, layers []layer.Layer, err error) {
	tb.Helper()
	r := receiver.New(bytes.NewReader(data))
	for {
		n, more, err := r.Next()
		if err != nil || !more {
			return numbers, layers, err
		}
		spool, err := os.CreateTemp(tb.TempDir(), "")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = spool.Close() })
		l, err := r.Receive(tb.Context(), v, spool)
		if err != nil {
			return numbers, layers, err
		}
		numbers, layers = append(numbers, n), append(layers, l)
	}
}

func TestReceive(t *testing.T) {
	numbers, layers, err := receive(t, sent(t), below(t))
	if err != nil || len(layers) != 1 || numbers[0] != 3 {
		t.Fatalf("got %v, %v", numbers, err)
	}
	x, err := layers[0].Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for e := range x.All() {
		if e.Path != "" {
			paths = append(paths, e.Path)
		}
	}
	if got, want := len(paths), 6; got != want {
		t.Errorf("there is %q", paths)
	}
	for path, want := range map[string]string{"d/f": "y", "h": "content", "new/empty": ""} {
		r, err := layers[0].Open(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err != nil || got.String() != want {
			t.Errorf("%s holds %q (%v), want %q", path, got.String(), err, want)
		}
		_ = r.Close()
	}
}

// A stream that ends too early is never a result.
func TestReceiveTruncated(t *testing.T) {
	whole, v := sent(t), below(t)
	for n := range whole {
		if _, _, err := receive(t, whole[:n], v); err == nil {
			t.Fatalf("%d of %d bytes give no error", n, len(whole))
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(sent(f))
	v := below(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, layers, err := receive(t, data, v)
		if err != nil {
			return
		}
		for _, l := range layers {
			x, err := l.Index(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for e := range x.All() {
				if e.Type != layer.Regular {
					continue
				}
				r, err := l.Open(t.Context(), e.Path)
				if err != nil {
					t.Fatal(err)
				}
				_ = r.Close()
			}
		}
	})
}
