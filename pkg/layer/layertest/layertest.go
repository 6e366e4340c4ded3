// Package layertest checks implementations of layer.Layer against the contract of that
// interface.
package layertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Want is an entry that a layer must have. Unless Entry.Sum is set the layer may leave its own
// unset; one that it has must be right in any case.
type Want struct {
	layer.Entry
	// Content is that of a Regular entry, whose Size need not be set.
	Content string
}

// Run checks that the layers that open returns have exactly the entries of want, in tree
// order, and keep the contract. It calls open several times, each time for a new layer, so
// that first calls of methods are tested too.
func Run(t *testing.T, open func(t *testing.T) layer.Layer, want []Want) {
	t.Helper()
	want = complete(want)
	t.Run("Index", func(t *testing.T) { testIndex(t, open(t), want) })
	t.Run("IndexConcurrent", func(t *testing.T) { testIndexConcurrent(t, open(t)) })
	t.Run("Open", func(t *testing.T) { testOpen(t, open(t), want) })
	t.Run("OpenConcurrent", func(t *testing.T) { testOpenConcurrent(t, open(t), want) })
	t.Run("OpenAt", func(t *testing.T) { testOpenAt(t, open(t), want) })
	t.Run("OpenPartly", func(t *testing.T) { testOpenPartly(t, open(t), want) })
	t.Run("OpenMissing", func(t *testing.T) { testOpenMissing(t, open(t), want) })
	t.Run("Cancelled", func(t *testing.T) { testCancelled(t, open(t)) })
	t.Run("RoundTrip", func(t *testing.T) { testRoundTrip(t, open(t), want) })
}

func complete(want []Want) []Want {
	done := make([]Want, len(want))
	for i, w := range want {
		if w.Type == layer.Regular {
			w.Size = int64(len(w.Content))
		}
		done[i] = w
	}
	return done
}

func testIndex(t *testing.T, l layer.Layer, want []Want) {
	x := index(t, l)
	if y := index(t, l); y != x {
		t.Error("the second call of Index returned another index")
	}
	for i := range min(x.Len(), len(want)) {
		if diff := diffEntry(x.At(i), &want[i]); diff != "" {
			t.Errorf("entry %d, %q: %s", i, want[i].Path, diff)
		}
	}
	for i := len(want); i < x.Len(); i++ {
		t.Errorf("entry %d, %q, is not wanted", i, x.At(i).Path)
	}
	for i := x.Len(); i < len(want); i++ {
		t.Errorf("entry %d, %q, is missing", i, want[i].Path)
	}
}

func testIndexConcurrent(t *testing.T, l layer.Layer) {
	const n = 8
	var wg sync.WaitGroup
	got := make([]*layer.Index, n)
	for i := range n {
		wg.Go(func() { got[i] = index(t, l) })
	}
	wg.Wait()
	for i := range got {
		if got[i] != got[0] {
			t.Fatal("concurrent calls of Index returned different indexes")
		}
	}
}

func testOpen(t *testing.T, l layer.Layer, want []Want) {
	for i := range want {
		checkContent(t, l, &want[i])
	}
	for i := range want { // and again
		checkContent(t, l, &want[i])
	}
}

func testOpenConcurrent(t *testing.T, l layer.Layer, want []Want) {
	var wg sync.WaitGroup
	for range 4 {
		for i := range want {
			wg.Go(func() { checkContent(t, l, &want[i]) })
		}
	}
	wg.Wait()
}

func testOpenAt(t *testing.T, l layer.Layer, want []Want) {
	x := index(t, l)
	for i := range min(x.Len(), len(want)) {
		rc, err := layer.OpenAt(t.Context(), l, x, i)
		if want[i].Type != layer.Regular {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("OpenAt(%d), %q: error %v does not match fs.ErrInvalid", i, want[i].Path, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("OpenAt(%d), %q: %v", i, want[i].Path, err)
			continue
		}
		if got := readAll(t, rc, want[i].Path); got != want[i].Content {
			t.Errorf("OpenAt(%d), %q: content is %.80q, want %.80q", i, want[i].Path, got, want[i].Content)
		}
	}
}

// testOpenPartly reads byte by byte, past the end, and closes early.
func testOpenPartly(t *testing.T, l layer.Layer, want []Want) {
	for _, w := range want {
		if w.Type != layer.Regular || len(w.Content) > 1<<16 {
			continue
		}
		rc, err := l.Open(t.Context(), w.Path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(rc))
		if err != nil || string(got) != w.Content {
			t.Errorf("%q byte by byte: %.80q, %v", w.Path, got, err)
		}
		for range 2 {
			if n, err := rc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%q: reading after the end gave %d, %v", w.Path, n, err)
			}
		}
		if err := rc.Close(); err != nil {
			t.Errorf("%q: Close: %v", w.Path, err)
		}
		if rc, err = l.Open(t.Context(), w.Path); err != nil {
			t.Fatal(err)
		}
		if err := rc.Close(); err != nil {
			t.Errorf("%q: Close before reading: %v", w.Path, err)
		}
	}
}

func testOpenMissing(t *testing.T, l layer.Layer, want []Want) {
	missing := []string{"no such file", "no/such/file", "..", "../etc/passwd", "a\x00b"}
	for _, w := range want {
		switch {
		case w.Type == layer.Regular:
			missing = append(missing, "/"+w.Path, "./"+w.Path, w.Path+"/", w.Path+"/x")
		default:
			if _, err := l.Open(t.Context(), w.Path); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("Open(%q), which has no content: error %v does not match fs.ErrInvalid", w.Path, err)
			}
		}
	}
	for _, p := range missing {
		if _, err := l.Open(t.Context(), p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q): error %v does not match fs.ErrNotExist", p, err)
		}
	}
}

// testCancelled checks that a call with an ended context does not spoil later ones.
func testCancelled(t *testing.T, l layer.Layer) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Index(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Index with a cancelled context: %v", err)
	}
	index(t, l)
}

// testRoundTrip writes the layer as a tar, twice, and reads it back.
func testRoundTrip(t *testing.T, l layer.Layer, want []Want) {
	var first, second bytes.Buffer
	x, err := layer.WriteTar(t.Context(), &first, l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layer.WriteTar(t.Context(), &second, l); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("WriteTar is not deterministic")
	}
	y, err := layer.ReadTar(t.Context(), &first)
	if err != nil {
		t.Fatal(err)
	}
	if x.Len() != y.Len() || x.Len() != len(want) {
		t.Fatalf("%d entries written, %d read, %d wanted", x.Len(), y.Len(), len(want))
	}
	for i := range x.Len() {
		if diff := diffEntry(y.At(i), &Want{Entry: *x.At(i)}); diff != "" {
			t.Errorf("%q read back: %s", x.At(i).Path, diff)
		}
		if e := x.At(i); e.Type == layer.Regular && e.Sum.IsZero() {
			t.Errorf("%q has no sum after it has been written", e.Path)
		}
	}
}

func index(t *testing.T, l layer.Layer) *layer.Index {
	x, err := l.Index(t.Context())
	if err != nil {
		t.Error(err)
		return new(layer.Index)
	}
	return x
}

func checkContent(t *testing.T, l layer.Layer, w *Want) {
	if w.Type != layer.Regular {
		return
	}
	rc, err := l.Open(t.Context(), w.Path)
	if err != nil {
		t.Errorf("Open(%q): %v", w.Path, err)
		return
	}
	if got := readAll(t, rc, w.Path); got != w.Content {
		t.Errorf("%q: content is %.80q, want %.80q", w.Path, got, w.Content)
	}
}

func readAll(t *testing.T, rc io.ReadCloser, path string) string {
	got, err := io.ReadAll(rc)
	if err != nil {
		t.Errorf("reading %q: %v", path, err)
	}
	if err := rc.Close(); err != nil {
		t.Errorf("closing %q: %v", path, err)
	}
	return string(got)
}

// diffEntry says how got differs from what is wanted, "" if it does not.
func diffEntry(got *layer.Entry, want *Want) string {
	g, w := *got, want.Entry
	if !g.ModTime.Equal(w.ModTime) {
		return fmt.Sprintf("has modification time %v, want %v", g.ModTime, w.ModTime)
	}
	if !maps.Equal(g.Xattrs, w.Xattrs) {
		return fmt.Sprintf("has extended attributes %q, want %q", g.Xattrs, w.Xattrs)
	}
	if w.Type == layer.Regular && w.Sum.IsZero() && !g.Sum.IsZero() {
		w.Sum = sha256.Sum256([]byte(want.Content))
	}
	g.ModTime, g.Xattrs = w.ModTime, w.Xattrs
	// What is left is comparable, if it were not for the map.
	if a, b := fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", w); a != b {
		return fmt.Sprintf("is\n  %s, want\n  %s", a, b)
	}
	return ""
}
