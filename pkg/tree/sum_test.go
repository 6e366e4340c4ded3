package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/slipway-build/slipway/pkg/layer"
)

func TestSum(t *testing.T) {
	known := layer.Sum{1, 2, 3}
	l := &counting{Layer: specLayer(t, "f f content; h h f; d d; f known content")}
	x, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e, err := x.Lookup("known")
	if err != nil {
		t.Fatal(err)
	}
	e.Sum = known // the layer is this test's own
	base := New(l)
	lower, err := base.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	upper, err := base.Push(specLayer(t, "f x; h h2 f")).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, v := range []*View{lower, upper} {
		for _, p := range []string{"f", "h", "f", "h"} {
			wg.Go(func() {
				n, err := v.Lookup(p)
				if err != nil {
					t.Error(err)
					return
				}
				sum, err := n.Sum(t.Context())
				if got := fmt.Sprintf("%x", sum); err != nil || got != "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73" {
					t.Errorf("%s: %s, %v", p, got, err)
				}
			})
		}
	}
	wg.Wait()
	h2, _ := upper.Lookup("h2")
	if _, err := h2.Sum(t.Context()); err != nil {
		t.Error(err)
	}
	if n := l.opened.Load(); n != 1 {
		t.Errorf("the file was read %d times", n)
	}
	n, _ := lower.Lookup("known")
	if sum, err := n.Sum(t.Context()); sum != known || err != nil || l.opened.Load() != 1 {
		t.Errorf("a known sum was computed: %x, %v", sum, err)
	}
	d, _ := lower.Lookup("d")
	if _, err := d.Sum(t.Context()); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("sum of a directory: %v", err)
	}
}

// slow is a layer whose files can be read when the test says so.
type slow struct {
	layer.Layer
	opened atomic.Int64
	gate   chan struct{}
}

func (s *slow) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	s.opened.Add(1)
	<-s.gate
	return s.Layer.Open(ctx, p)
}

// A digest reads as many files at a time as there are cores.
func TestDigestReadsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cores := runtime.GOMAXPROCS(0)
		spec := ""
		for i := range cores + 2 {
			spec += fmt.Sprintf("f d%d/f %d; ", i, i)
		}
		l := &slow{Layer: specLayer(t, spec), gate: make(chan struct{})}
		v, err := New(l).View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := v.Digest(t.Context(), "")
			done <- err
		}()
		synctest.Wait()
		if n := l.opened.Load(); n != int64(cores) {
			t.Errorf("%d files are read at a time by %d cores", n, cores)
		}
		close(l.gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A file that turns out shorter than its layer said has no sum.
func TestSumOfBrokenFile(t *testing.T) {
	e := layer.Entry{Path: "f", Type: layer.Regular, Size: 10}
	l, err := layer.New([]layer.File{{Entry: e, Content: layer.Bytes([]byte("short"))}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.Lookup("f")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := n.Sum(t.Context())
		checkError(t, err, nil, "sum of f")
	}
}
