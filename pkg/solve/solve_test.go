package solve_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// graph makes vertices from lines "name: input input…"; an input may be "name#output".
func graph(t *testing.T, lines ...string) map[string]*op.Vertex {
	t.Helper()
	g := map[string]*op.Vertex{}
	for _, line := range lines {
		name, inputs, _ := strings.Cut(line, ":")
		v := &op.Vertex{ID: name, Name: name, Op: &op.Merge{}}
		for _, in := range strings.Fields(inputs) {
			from, output, _ := strings.Cut(in, "#")
			e := op.Edge{Vertex: g[from]}
			if e.Vertex == nil {
				t.Fatalf("%s: unknown input %s", name, from)
			}
			if output != "" {
				fmt.Sscan(output, &e.Output)
			}
			v.Inputs = append(v.Inputs, e)
		}
		g[name] = v
	}
	return g
}

// recorder is an executor whose results are trees told apart by identity.
type recorder struct {
	mu      sync.Mutex
	ran     []string
	outputs int
	run     func(ctx context.Context, v *op.Vertex) error
}

func (r *recorder) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	k := op.OutputKey(op.Key{}, len(v.ID))
	copy(k[:], v.ID)
	return k, nil
}

func (r *recorder) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	r.mu.Lock()
	r.ran = append(r.ran, v.ID)
	r.mu.Unlock()
	if r.run != nil {
		if err := r.run(ctx, v); err != nil {
			return nil, err
		}
	}
	return make([]*tree.Tree, max(r.outputs, 1)), nil
}

func (r *recorder) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, s := range r.ran {
		if s == id {
			n++
		}
	}
	return n
}

func TestOnlyWhatIsAskedForRunsAndOnce(t *testing.T) {
	g := graph(t, "base:", "a: base", "b: base", "unused: base", "out: a b a")
	r := &recorder{}
	s := solve.New(t.Context(), r)
	defer s.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["out"]}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for id, want := range map[string]int{"base": 1, "a": 1, "b": 1, "out": 1, "unused": 0} {
		if got := r.count(id); got != want {
			t.Errorf("%s ran %d times, want %d", id, got, want)
		}
	}
}

// Each of the two independent vertices waits for the other to have started.
func TestIndependentVerticesRunInParallel(t *testing.T) {
	g := graph(t, "a:", "b:", "out: a b")
	var barrier sync.WaitGroup
	barrier.Add(2)
	s := solve.New(t.Context(), &recorder{run: func(_ context.Context, v *op.Vertex) error {
		if v.ID != "out" {
			barrier.Done()
			barrier.Wait()
		}
		return nil
	}})
	defer s.Close()
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["out"]}); err != nil {
		t.Error(err)
	}
}

func TestFailureEndsTheBuildWhileSiblingsStillRun(t *testing.T) {
	g := graph(t, "slow:", "bad:", "out: slow bad")
	boom := errors.New("boom")
	cancelled := make(chan struct{})
	s := solve.New(t.Context(), &recorder{run: func(ctx context.Context, v *op.Vertex) error {
		switch v.ID {
		case "bad":
			return boom
		case "slow":
			<-ctx.Done()
			close(cancelled)
			return context.Cause(ctx)
		}
		return nil
	}})
	for range 2 { // the error is kept
		if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["out"]}); !errors.Is(err, boom) {
			t.Errorf("got %v, want boom", err)
		}
	}
	s.Close() // must not return before the slow one has ended
	select {
	case <-cancelled:
	default:
		t.Error("Close returned while a vertex was running")
	}
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: graph(t, "new:")["new"]}); !errors.Is(err, solve.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestOneCallerGivingUpDoesNotStopTheWorkOfOthers(t *testing.T) {
	g := graph(t, "out:")
	release := make(chan struct{})
	s := solve.New(t.Context(), &recorder{run: func(ctx context.Context, _ *op.Vertex) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}})
	defer s.Close()
	patient := make(chan error, 1)
	go func() {
		_, err := s.Solve(t.Context(), op.Edge{Vertex: g["out"]})
		patient <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Solve(ctx, op.Edge{Vertex: g["out"]}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("impatient caller: %v", err)
	}
	close(release)
	if err := <-patient; err != nil {
		t.Errorf("patient caller: %v", err)
	}
}

func TestOutputsAreToldApart(t *testing.T) {
	g := graph(t, "a:", "b: a#1", "c: a#2")
	s := solve.New(t.Context(), &recorder{outputs: 2})
	defer s.Close()
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["b"]}); err != nil {
		t.Error(err)
	}
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["c"]}); err == nil || !strings.Contains(err.Error(), "no output 2") {
		t.Errorf("got %v, want an error about output 2", err)
	}
}

func TestErrorsGetTheLinesOfTheirVertex(t *testing.T) {
	g := graph(t, "a:", "b: a")
	g["a"].Locations = []op.Location{{Filename: "Dockerfile", Start: 3, End: 3}}
	g["b"].Locations = []op.Location{{Filename: "Dockerfile", Start: 9, End: 9}}
	s := solve.New(t.Context(), solve.Locating(&recorder{run: func(context.Context, *op.Vertex) error { return errors.New("boom") }}))
	defer s.Close()
	_, err := s.Solve(t.Context(), op.Edge{Vertex: g["b"]})
	if err == nil || err.Error() != "Dockerfile:3: boom" {
		t.Errorf("got %v, want the position of the vertex that failed, not of the one that needs it", err)
	}
}

// keyed gives all vertices whose names share the first letter the same key.
type keyed struct{ *recorder }

func (keyed) Key(_ context.Context, v *op.Vertex, _ []op.Input) (op.Key, error) {
	return op.Key{v.ID[0]}, nil
}

func TestMemoizing(t *testing.T) {
	g := graph(t, "a1:", "a2:", "b1:", "out: a1 a2 b1")
	g["out"].NoCache = true
	r := &recorder{}
	var hits atomic.Int32
	s := solve.New(t.Context(), countHits{solve.Memoizing(keyed{r}), &hits})
	defer s.Close()
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["out"]}); err != nil {
		t.Fatal(err)
	}
	if n := r.count("a1") + r.count("a2"); n != 1 {
		t.Errorf("two vertices of one key ran %d times, want once", n)
	}
	if hits.Load() != 1 {
		t.Errorf("%d hits were reported, want 1", hits.Load())
	}
}

func TestMemoizingLeavesNoCacheAlone(t *testing.T) {
	g := graph(t, "a1:", "a2:", "out: a1 a2")
	g["a1"].NoCache, g["a2"].NoCache = true, true
	r := &recorder{}
	s := solve.New(t.Context(), solve.Memoizing(keyed{r}))
	defer s.Close()
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: g["out"]}); err != nil {
		t.Fatal(err)
	}
	if n := r.count("a1") + r.count("a2"); n != 2 {
		t.Errorf("ran %d times, want 2", n)
	}
}

type countHits struct {
	solve.Executor
	hits *atomic.Int32
}

func (c countHits) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	r := &solve.Report{}
	trees, err := c.Executor.Execute(solve.WithReport(ctx, r), v, in)
	if r.WasHit() {
		c.hits.Add(1)
	}
	return trees, err
}
