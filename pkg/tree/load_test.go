package tree

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/slipway-build/slipway/pkg/layer"
)

func TestViewIsKept(t *testing.T) {
	a, b := &counting{Layer: specLayer(t, "f a")}, &counting{Layer: specLayer(t, "f b")}
	lower := New(a)
	upper := lower.Push(b)
	v1, err := upper.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v2, _ := upper.View(t.Context())
	below, _ := lower.View(t.Context())
	other, _ := lower.Push(b).View(t.Context())
	if v1 != v2 {
		t.Error("the view was made twice")
	}
	n1, _ := below.Lookup("a")
	n2, _ := v1.Lookup("a")
	n3, _ := other.Lookup("a")
	if n1 != n2 || n1 != n3 {
		t.Error("the views share nothing")
	}
	if a.indexed.Load() != 1 {
		t.Errorf("the lower layer was indexed %d times", a.indexed.Load())
	}
}

func TestViewConcurrently(t *testing.T) {
	l := &counting{Layer: specLayer(t, "f a")}
	base := New(l)
	var wg sync.WaitGroup
	views := make([]*View, 50)
	for i := range views {
		wg.Go(func() {
			tr := base
			if i%2 == 1 {
				tr = base.Push(specLayer(t, "f b"))
			}
			var err error
			if views[i], err = tr.View(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l.indexed.Load() != 1 {
		t.Errorf("indexed %d times", l.indexed.Load())
	}
	a, _ := views[0].Lookup("a")
	for i, v := range views {
		if n, err := v.Lookup("a"); err != nil || n != a {
			t.Errorf("view %d has another node: %v", i, err)
		}
	}
}

// All indexes are asked for at once, up to the limit.
func TestViewLoadsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var layers []layer.Layer
		var gates []*gated
		for range maxIndexLoads + 3 {
			g := newGated(specLayer(t, "f a"))
			gates = append(gates, g)
			layers = append(layers, g)
		}
		done := make(chan error)
		go func() {
			_, err := New(layers...).View(t.Context())
			done <- err
		}()
		synctest.Wait()
		asked := 0
		for _, g := range gates {
			asked += len(g.asked)
		}
		if asked != maxIndexLoads {
			t.Errorf("%d layers were asked at once", asked)
		}
		for _, g := range gates {
			g.gate <- nil
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestViewFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, slow := newGated(specLayer(t, "f a")), newGated(specLayer(t, "f b"))
		tr := New(bad, slow)
		lost := errors.New("connection lost")
		result := view(t.Context(), tr)
		bad.gate <- lost
		r := <-result // the slow layer does not hold the error up
		checkError(t, r.err, lost, "layer 1")

		result = view(t.Context(), tr) // and can be tried again
		bad.gate <- nil
		slow.gate <- nil
		if r := <-result; r.err != nil || r.view.Len() != 3 {
			t.Errorf("second try: %v", r.err)
		}
		if len(bad.asked) != 2 {
			t.Errorf("asked %d times", len(bad.asked))
		}
	})
}

type viewResult struct {
	view *View
	err  error
}

func view(ctx context.Context, tr *Tree) <-chan viewResult {
	c := make(chan viewResult, 1)
	go func() {
		v, err := tr.View(ctx)
		c <- viewResult{v, err}
	}()
	return c
}

// The cancellation of one caller ends its call at once and leaves the others alone.
func TestViewCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newGated(specLayer(t, "f a"))
		tr := New(l)
		ctx, cancel := context.WithCancel(t.Context())
		first := view(ctx, tr)
		synctest.Wait()
		second := view(t.Context(), tr)
		synctest.Wait()
		cancel()
		if r := <-first; !errors.Is(r.err, context.Canceled) {
			t.Errorf("the cancelled caller got %v", r.err)
		}
		l.gate <- nil
		if r := <-second; r.err != nil {
			t.Errorf("the other caller got %v", r.err)
		}
		if len(l.asked) != 1 {
			t.Errorf("asked %d times", len(l.asked))
		}
	})
}

// When nobody waits any more, the work stops; who comes then starts afresh, even while the
// old work has not noticed yet.
func TestViewAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newGated(specLayer(t, "f a"))
		tr := New(l)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			r := view(ctx, tr)
			synctest.Wait()
			cancel()
			if r := <-r; !errors.Is(r.err, context.Canceled) {
				t.Errorf("the cancelled caller got %v", r.err)
			}
		}
		r := view(t.Context(), tr)
		l.gate <- nil
		if r := <-r; r.err != nil {
			t.Error(r.err)
		}
		if len(l.asked) != 4 {
			t.Errorf("asked %d times", len(l.asked))
		}
	})
}

func TestViewCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tr := specTree(t, "f a")
	if _, err := tr.View(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := tr.View(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := tr.View(ctx); err != nil {
		t.Errorf("what is there needs no context: %v", err)
	}
}

func TestViewDeepStack(t *testing.T) {
	var tr *Tree
	for i := range 1000 {
		tr = tr.Push(specLayer(t, fmt.Sprintf("f d/%d; w d/%d", i, i-2)))
	}
	v, err := tr.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, v), lines("d d 755 @0; f d/998; f d/999"); got != want {
		t.Errorf("got:\n%s", got)
	}
}

func TestTree(t *testing.T) {
	a, b := specLayer(t, "f a"), specLayer(t, "f b")
	var scratch *Tree
	tr := New(a, b)
	if tr.Depth() != 2 || tr.Top() != b || tr.Parent().Top() != a || tr.Parent().Parent() != nil {
		t.Error("New stacks wrongly")
	}
	if ls := tr.Layers(); len(ls) != 2 || ls[0] != a || ls[1] != b {
		t.Errorf("Layers: %v", ls)
	}
	if New() != nil || scratch.Depth() != 0 || scratch.Top() != nil || scratch.Parent() != nil || len(scratch.Layers()) != 0 {
		t.Error("the empty tree is not empty")
	}
}
