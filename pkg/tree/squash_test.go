package tree

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Several layers made one change what is below them as they do, whatever that is.
func TestRandomStacksSquashed(t *testing.T) {
	refused := 0
	const stacks = 5000
	for seed := range uint64(stacks) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newModel()
		var base, run []layer.Layer
		var specs []string
		bases := r.IntN(3)
		for i := range bases + 1 + r.IntN(4) {
			spec := withParents(m.randomLayer(r))
			specs = append(specs, spec)
			m.apply(t, spec)
			if l := specLayer(t, spec); i < bases {
				base = append(base, l)
			} else {
				run = append(run, l)
			}
		}
		if _, err := New(slices.Concat(base, run)...).View(t.Context()); err != nil {
			refused++ // a hard link to what became a parent of other entries
			continue
		}
		squashed, err := layer.Squash(t.Context(), run)
		if err != nil && strings.Contains(err.Error(), "which one of them replaces") {
			refused++
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(specs, "\n"))
		}
		v, err := New(append(base, squashed)...).View(t.Context())
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(specs, "\n"))
		}
		if got, want := list(t, v), m.list(); got != want {
			t.Fatalf("seed %d: %d of the layers are the base\n%s\ngot:\n%swant:\n%s", seed, bases, strings.Join(specs, "\n"), got, want)
		}
	}
	if refused > stacks/4 {
		t.Errorf("%d of %d stacks were refused", refused, stacks)
	}
}

// withParents is a layer that mentions the directories of all its entries, as layers that RUN and COPY make do.
func withParents(spec string) string {
	mentioned := map[string]bool{}
	lines := specLines(spec)
	for _, line := range lines {
		mentioned[strings.Fields(line)[1]] = true
	}
	for _, line := range lines {
		fields := strings.Fields(line)
		for dir := path.Dir(fields[1]); dir != "." && fields[0] != "w"; dir = path.Dir(dir) {
			if !mentioned[dir] {
				mentioned[dir] = true
				spec += "d " + dir + " 755; "
			}
		}
	}
	return spec
}
