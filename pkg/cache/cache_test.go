package cache_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// both is a cache that is read and written.
func both(s cache.Store) cache.Options {
	return cache.Options{From: []cache.Store{s}, To: []cache.Store{s}}
}

// twoStages is a Dockerfile that has all kinds of steps.
func twoStages() *op.Vertex {
	build := run(run(from(), "one"), "two")
	return run(copyFrom(build, copyFrom(local(), from(), "/a", "/a"), "/run-two", "/two"), "three")
}

func TestEverythingIsFound(t *testing.T) {
	w, s := newWorld(t), newMemory()
	first := w.build(t, twoStages(), both(s))
	first.expect(t, "first", "RUN one", "RUN two", "RUN three", "COPY /a /a", "COPY /run-two /two")
	// Another checkout: neither times nor owners are part of it.
	other := time.Unix(1, 0)
	if err := errors.Join(os.Chtimes(filepath.Join(w.context, "a"), other, other), os.Chown(filepath.Join(w.context, "a"), 0, 0)); err != nil {
		t.Fatal(err)
	}
	s.opened, w.base.asked = 0, 0
	second := w.build(t, twoStages(), both(s))
	second.expect(t, "second")
	if first.digest != second.digest {
		t.Error("the image found is another than the image made")
	}
	if s.opened != 0 || w.base.asked != 0 {
		t.Errorf("%d blobs were opened, and the base image's index asked for %d times", s.opened, w.base.asked)
	}
	second.warned(t, 0, "")
}

func TestWhatChangesIsMadeAnew(t *testing.T) {
	changed := func(step string) func(*testing.T, *world) *op.Vertex {
		return func(*testing.T, *world) *op.Vertex {
			args := map[string]string{"one": "one", "two": "two", "three": "three"}
			args[step] += "x"
			build := run(run(from(), args["one"]), args["two"])
			return run(copyFrom(build, copyFrom(local(), from(), "/a", "/a"), "/run-"+args["two"], "/two"), args["three"])
		}
	}
	for name, test := range map[string]struct {
		change   func(*testing.T, *world) *op.Vertex
		executed []string
	}{
		"last step": {changed("three"), []string{"RUN threex"}},
		"content of the context": {func(t *testing.T, w *world) *op.Vertex {
			w.write(t, "a", "other")
			return twoStages()
		}, []string{"COPY /a /a", "COPY /run-two /two", "RUN three"}},
		"mode in the context": {func(t *testing.T, w *world) *op.Vertex {
			if err := os.Chmod(filepath.Join(w.context, "a"), 0o755); err != nil {
				t.Fatal(err)
			}
			return twoStages()
		}, []string{"COPY /a /a", "COPY /run-two /two", "RUN three"}},
		"a file that nothing copies": {func(t *testing.T, w *world) *op.Vertex {
			w.write(t, "b", "other")
			return twoStages()
		}, nil},
		// What the other stage copies of it is as before.
		"earlier step of another stage": {changed("one"), []string{"RUN onex", "RUN two"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t), newMemory()
			w.build(t, twoStages(), both(s))
			w.build(t, test.change(t, w), both(s)).expect(t, "after the change", test.executed...)
		})
	}
}

// A step that is asked for again need not give the same again. Layers that are made on another's
// result are never stacked on it.
func TestLayersOfDifferentExecutionsAreNotMixed(t *testing.T) {
	w, s := newWorld(t), newMemory()
	n := 0
	w.run = func(args []string, root *tree.View) map[string]string {
		if args[0] == "one" {
			n++
			return map[string]string{"n": fmt.Sprint(n)}
		}
		if _, err := root.Lookup("n"); err != nil {
			t.Error(err)
		}
		return map[string]string{"seen": "by " + args[0]}
	}
	target := func() *op.Vertex { return run(run(from(), "one"), "two") }
	w.build(t, target(), both(s))
	forget(t, s, "RUN one")
	again := w.build(t, target(), both(s))
	again.expect(t, "without the first record", "RUN one", "RUN two")
	w.build(t, target(), both(s)).expect(t, "after that")

	// With the same result, what was made on it stays.
	n--
	forget(t, s, "RUN one")
	w.build(t, target(), both(s)).expect(t, "made again the same", "RUN one")
	w.build(t, target(), both(s)).expect(t, "after that, too")
}

// forget removes the records of a step.
func forget(t *testing.T, s *memory, step string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.manifests)
	maps.DeleteFunc(s.manifests, func(name string, raw []byte) bool {
		return strings.HasPrefix(name, "record-") && try(cache.Unmarshal(raw))(t).Step == step
	})
	if len(s.manifests) == n {
		t.Fatalf("there is no record of %s", step)
	}
}

func TestWithoutCacheResultsAreReplaced(t *testing.T) {
	w, s := newWorld(t), newMemory()
	n := 0
	w.run = func([]string, *tree.View) map[string]string { n++; return map[string]string{"n": fmt.Sprint(n)} }
	target := run(from(), "one")
	w.build(t, target, both(s))
	noCache := *target
	noCache.NoCache = true
	w.build(t, &noCache, both(s)).expect(t, "without cache", "RUN one")
	third := w.build(t, target, both(s))
	third.expect(t, "after that")
	if got := third.read(t, "n"); got != "2" {
		t.Errorf("the cache has result %s", got)
	}
}

func TestTTL(t *testing.T) {
	w, s := newWorld(t), newMemory()
	o := both(s)
	o.TTL = 90 * time.Minute // builds are an hour apart
	w.build(t, run(from(), "one"), o)
	w.build(t, run(from(), "one"), o).expect(t, "in time")
	w.build(t, run(from(), "one"), o).expect(t, "too late", "RUN one")
	w.build(t, run(from(), "one"), o).expect(t, "made anew")
}

func TestWhatIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		options  cache.Options
		executed []string
	}{
		"no copies": {cache.Options{SkipCopies: true}, []string{"COPY /a /a", "COPY /run-two /two"}},
		"no runs":   {cache.Options{SkipRuns: true}, []string{"RUN one", "RUN three", "RUN two"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t), newMemory()
			o := test.options
			o.From, o.To = []cache.Store{s}, []cache.Store{s}
			w.build(t, twoStages(), o)
			w.build(t, twoStages(), o).expect(t, "second", test.executed...)
		})
	}
}

func TestStores(t *testing.T) {
	w, a, b := newWorld(t), newMemory(), newMemory()
	w.build(t, twoStages(), cache.Options{To: []cache.Store{a}})
	if len(b.manifests) != 0 {
		t.Fatal("b was written")
	}
	first := w.build(t, twoStages(), cache.Options{From: []cache.Store{a}, To: []cache.Store{b}})
	first.expect(t, "from a")
	second := w.build(t, twoStages(), cache.Options{From: []cache.Store{newMemory(), b}})
	second.expect(t, "from b, which got it from a")
	if first.digest != second.digest {
		t.Error("another image")
	}
}

func TestDamagedRecords(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(raw []byte) []byte
		warn   string
	}{
		"truncated": {func(raw []byte) []byte { return raw[:len(raw)/2] }, "unexpected end"},
		"empty":     {func([]byte) []byte { return nil }, "unexpected end"},
		"foreign":   {func([]byte) []byte { return []byte(`{"schemaVersion":2,"layers":[]}`) }, "not a record"},
		"BuildKit's": {func([]byte) []byte {
			return []byte(`{"config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0"}}`)
		}, "BuildKit"},
		"other version": {func(raw []byte) []byte {
			return []byte(strings.Replace(string(raw), `\"version\":1`, `\"version\":99`, 1))
		}, "version 99"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t), newMemory()
			w.build(t, run(from(), "one"), both(s))
			for name, raw := range s.manifests {
				s.manifests[name] = test.damage(raw)
			}
			second := w.build(t, run(from(), "one"), both(s))
			second.expect(t, "with damage", "RUN one")
			second.warned(t, 1, test.warn)
			w.build(t, run(from(), "one"), both(s)).expect(t, "after that")
		})
	}
}

// A record that was copied to another name is not taken for what that name stands for.
func TestRecordUnderAnotherName(t *testing.T) {
	w, s := newWorld(t), newMemory()
	w.build(t, run(from(), "one"), both(s))
	one := slices.Collect(maps.Values(s.manifests))[0]
	w.build(t, run(from(), "two"), both(s))
	for name := range s.manifests {
		s.manifests[name] = one
	}
	second := w.build(t, run(from(), "two"), both(s))
	second.expect(t, "poisoned", "RUN two")
	if got := second.read(t, "run-two"); got != "two" {
		t.Errorf("it is %q", got)
	}
}

// Damage that shows only when a blob is read: the step is made anew.
func TestDamagedBlobs(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { c := slices.Clone(b); c[len(c)/2] ^= 1; return c },
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(b []byte) []byte { return append(slices.Clone(b), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWorld(t), newMemory()
			w.modified = time.Unix(1_000_000_000, 0) // so that what is made anew is the same blob
			w.run = func(args []string, root *tree.View) map[string]string {
				if args[0] == "two" { // reads the layer of the first
					n, err := root.Lookup("run-one")
					if err != nil {
						t.Error(err)
						return nil
					}
					r, err := n.Open(t.Context())
					if err != nil {
						panic(err)
					}
					defer r.Close()
				}
				return map[string]string{"run-" + args[0]: "result"}
			}
			w.build(t, run(from(), "one"), both(s))
			for digest, data := range s.blobs {
				s.blobs[digest] = damage(data)
			}
			target := copyFrom(run(from(), "one"), from(), "/run-one", "/")
			second := w.build(t, target, both(s))
			second.expect(t, "with damage", "RUN one", "COPY /run-one /")
			second.warned(t, 1, "made anew")
			third := w.build(t, copyFrom(run(from(), "one"), from(), "/run-one", "/other"), both(s))
			third.expect(t, "after that", "COPY /run-one /other")
			third.warned(t, 0, "")
		})
	}
}

// What is found damaged where it is to be copied from is no fault of the store that it is copied to.
func TestDamagedBlobsAreNotCopied(t *testing.T) {
	w, damaged, to := newWorld(t), newMemory(), newMemory()
	w.build(t, run(from(), "one"), both(damaged))
	for digest, data := range damaged.blobs {
		damaged.blobs[digest] = data[:len(data)-1]
	}
	o := w.build(t, run(run(from(), "one"), "two"), cache.Options{From: []cache.Store{damaged}, To: []cache.Store{to}})
	if said := fmt.Sprint(o.warnings); strings.Contains(said, "cannot be written") || !strings.Contains(said, "is not copied to memory") {
		t.Errorf("warnings are %q", o.warnings)
	}
	if len(to.manifests) == 0 {
		t.Error("the other store got nothing more")
	}
}

// A blob that is gone is noticed before anything depends on it.
func TestMissingBlobs(t *testing.T) {
	w, s := newWorld(t), newMemory()
	w.build(t, run(from(), "one"), both(s))
	clear(s.blobs)
	second := w.build(t, run(from(), "one"), both(s))
	second.expect(t, "without blobs", "RUN one")
	second.warned(t, 1, "gone or cut off")
	w.build(t, run(from(), "one"), both(s)).expect(t, "after that")
}

func TestFailingStores(t *testing.T) {
	w, s := newWorld(t), newMemory()
	first := w.build(t, twoStages(), both(s))
	s.readErr = errors.New("no route to host")
	second := w.build(t, twoStages(), cache.Options{From: []cache.Store{s}})
	second.warned(t, 1, "cannot be read, the build goes on without it: no route to host")
	s.readErr, s.writeErr = nil, errors.New("quota exceeded")
	clear(s.manifests)
	third := w.build(t, twoStages(), both(s))
	third.warned(t, 1, "cannot be written, the build goes on without it: quota exceeded")
	if first.read(t, "two") != third.read(t, "two") {
		t.Error("another result")
	}
}

func TestTwoBuildsAtOnce(t *testing.T) {
	w, s := newWorld(t), newMemory()
	var mu sync.Mutex
	n := 0
	w.run = func(args []string, root *tree.View) map[string]string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return map[string]string{"run-" + args[0]: fmt.Sprint(n)}
	}
	worlds := []*world{w, {base: w.base, context: w.context, run: w.run, now: w.now}}
	var wg sync.WaitGroup
	for _, w := range worlds {
		wg.Go(func() { w.build(t, twoStages(), both(s)) })
	}
	wg.Wait()
	// Whoever was first: the chain that the cache has ends up whole.
	w.build(t, twoStages(), both(s))
	third := w.build(t, twoStages(), both(s))
	third.expect(t, "after both")
}

func TestSlowCacheIsNotWaitedForTooLong(t *testing.T) {
	w, s := newWorld(t), newMemory()
	s.slow = make(chan struct{})
	var warnings []string
	st := openState(t)
	o := both(s)
	o.State, o.Now = st, w.now
	o.Warn = func(m string) { warnings = append(warnings, m) }
	w.flushed(t, run(from(), "one"), o, time.Millisecond)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "not everything was written") {
		t.Errorf("warnings are %q", warnings)
	}
	if len(s.manifests) != 0 {
		t.Error("something was written")
	}
}

func TestPlan(t *testing.T) {
	w, s := newWorld(t), newMemory()
	named := func(at string, v *op.Vertex) *op.Vertex { v.Name = "[" + at + "] " + v.Name; return v }
	target := func(one, two string) *op.Vertex {
		below := named("1/3", run(from(), one))
		return named("3/3", copyFrom(local(), named("2/3", run(below, two)), "/a", "/a"))
	}
	o := both(s)
	o.Project = "it"
	w.build(t, target("one", "two"), o)
	w.write(t, "a", "other")
	for name, test := range map[string]struct {
		target *op.Vertex
		want   []string // from the first step on
	}{
		"the context": {target("one", "two"), []string{"cached", "cached", "changed: the content of /a"}},
		"a step": {target("one", "2"), []string{
			"cached", "changed: the command; it was [2/3] RUN two", "it depends on [2/3] RUN 2",
		}},
		"the first step": {target("1", "two"), []string{
			"changed: the command; it was [1/3] RUN one", "it depends on [1/3] RUN 1", "it depends on [1/3] RUN 1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, status := range w.plan(t, test.target, o) {
				got := status.Reason
				if status.Cached {
					got = "cached"
				}
				if got != test.want[i] {
					t.Errorf("step %d: %q, expected %q", i+1, got, test.want[i])
				}
			}
		})
	}
	forget(t, s, "[1/3] RUN one")
	if got := w.plan(t, target("one", "two"), o)[0]; got.Cached || !strings.Contains(got.Reason, "no longer there") {
		t.Errorf("without its record: %+v", got)
	}
	o.Project = "another"
	if got := w.plan(t, target("1", "2"), o)[0]; got.Reason != "there is no result of it" {
		t.Errorf("of another project: %+v", got)
	}
}
