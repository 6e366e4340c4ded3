package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

// TestRandomStacks compares views with a model that does the same in the most obvious way:
// a map from paths to files, to which the rules are applied one after the other.
func TestRandomStacks(t *testing.T) {
	stacks := 5000
	if testing.Short() {
		stacks = 1000
	}
	for seed := range uint64(stacks) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := newModel()
		var tr *Tree
		var specs []string
		for range 1 + r.IntN(5) {
			spec := m.randomLayer(r)
			specs = append(specs, spec)
			m.apply(t, spec)
			tr = tr.Push(specLayer(t, spec))
			if r.IntN(3) == 0 { // views are made one by one or several at once
				if _, err := tr.View(t.Context()); err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(specs, "\n"))
				}
			}
		}
		v, err := tr.View(t.Context())
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(specs, "\n"))
		}
		if got, want := list(t, v), m.list(); got != want {
			t.Fatalf("seed %d: layers\n%s\ngot:\n%swant:\n%s", seed, strings.Join(specs, "\n"), got, want)
		}
		checkLen(t, v)
	}
}

// model is a root filesystem as a map. The root is not in it.
type model map[string]*modelInode

type modelInode struct {
	dir     bool
	implied bool
	text    string // in the notation of the tests, with %s for the path
}

func newModel() *model { return &model{} }

// randomLayer invents a layer that can be applied to the model. Names are few, so that
// layers meet.
func (m *model) randomLayer(r *rand.Rand) string {
	entries := map[string]string{} // line without path, by path
	for range r.IntN(12) {
		p := randomPath(r)
		if _, ok := entries[p]; ok || leaf(entries, p) {
			continue
		}
		hasBelow := slices.ContainsFunc(slices.Collect(maps.Keys(entries)), func(q string) bool {
			return strings.HasPrefix(q, p+"/") && entries[q] != "w"
		})
		switch k := r.IntN(20); {
		case k < 5:
			entries[p] = "w"
		case k < 9:
			entries[p] = fmt.Sprintf("d %o", 0o700+r.IntN(0o100))
		case k < 11:
			entries[p] = "d 755 opaque"
		case hasBelow:
			continue
		case k < 15:
			entries[p] = fmt.Sprintf("f content%d", r.IntN(1000))
		case k < 17:
			entries[p] = "l " + randomPath(r)
		default:
			entries[p] = "h"
		}
	}
	// Targets are chosen when all else is known, so that there are no rings.
	for _, p := range slices.Sorted(maps.Keys(entries)) {
		if entries[p] != "h" {
			continue
		}
		delete(entries, p)
		if target := m.randomTarget(r, entries, p); target != "" {
			entries[p] = "h " + target
		}
	}
	var b strings.Builder
	for p, e := range entries {
		kind, rest, _ := strings.Cut(e, " ")
		fmt.Fprintf(&b, "%s %s %s; ", kind, p, rest)
	}
	return b.String()
}

// leaf reports whether p lies below something that cannot have anything below it.
func leaf(entries map[string]string, p string) bool {
	for i, c := range p {
		if c != '/' {
			continue
		}
		if e := entries[p[:i]]; e != "" && e[0] != 'd' && e[0] != 'w' {
			return true
		}
	}
	return false
}

func randomPath(r *rand.Rand) string {
	var parts []string
	for range 1 + r.IntN(4) {
		parts = append(parts, []string{"a", "b", "b-", "c"}[r.IntN(4)])
	}
	return strings.Join(parts, "/")
}

// randomTarget is a path that a hard link of the layer at own can have as its target: something
// of the layer, or of the model where the layer has nothing.
func (m *model) randomTarget(r *rand.Rand, entries map[string]string, own string) string {
	var can []string
	for p, e := range entries {
		if e[0] == 'f' || e[0] == 'l' || strings.HasPrefix(e, "h ") {
			can = append(can, p)
		}
	}
	for p, n := range *m {
		if e := entries[p]; p != own && !n.dir && (e == "" || e[0] == 'w') {
			can = append(can, p)
		}
	}
	if len(can) == 0 {
		return ""
	}
	slices.Sort(can)
	return can[r.IntN(len(can))]
}

// apply changes the model: first everything is removed that the layer hides, then its
// directories, files and links are added.
func (m *model) apply(t *testing.T, spec string) {
	t.Helper()
	x, err := specLayer(t, spec).Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lower := maps.Clone(*m)
	for e := range x.All() {
		switch {
		case e.Type == layer.Whiteout:
			delete(*m, e.Path)
			m.clear(e.Path)
		case e.Opaque:
			m.clear(e.Path)
		}
	}
	links := map[string]string{}
	for e := range x.All() {
		switch e.Type {
		case layer.Whiteout:
		case layer.Directory:
			m.put(e.Path, &modelInode{dir: true, text: fmt.Sprintf("d %%s %o", e.Mode)})
		case layer.Regular:
			m.put(e.Path, &modelInode{text: "f %s " + contentOf(spec, e.Path)})
		case layer.Symlink:
			m.put(e.Path, &modelInode{text: "l %s " + e.Link})
		case layer.Hardlink:
			m.put(e.Path, nil) // removes what was there
			links[e.Path] = e.Link
		}
	}
	for p, target := range links {
		for links[target] != "" {
			target = links[target]
		}
		file := (*m)[target]
		if e, err := x.Lookup(target); err != nil || e.Type == layer.Whiteout {
			file = lower[target]
		}
		(*m)[p] = file
	}
}

// contentOf finds the content of a file in a layer's text.
func contentOf(spec, p string) string {
	for _, l := range specLines(spec) {
		if words := strings.Fields(l); words[0] == "f" && words[1] == p {
			return words[2]
		}
	}
	return ""
}

// clear removes everything below p.
func (m *model) clear(p string) {
	maps.DeleteFunc(*m, func(q string, _ *modelInode) bool { return strings.HasPrefix(q, p+"/") })
}

// put sets what is at p and makes its parents directories.
func (m *model) put(p string, n *modelInode) {
	for i, c := range p {
		if c != '/' {
			continue
		}
		if parent := (*m)[p[:i]]; parent == nil || !parent.dir {
			(*m)[p[:i]] = &modelInode{dir: true, implied: true, text: "d %s 755"}
		}
	}
	if n == nil || !n.dir {
		m.clear(p)
	}
	(*m)[p] = n
}

// list writes the model down as the function list does a view.
func (m *model) list() string {
	names := map[*modelInode]int{}
	for _, n := range *m {
		names[n]++
	}
	numbers := map[*modelInode]int{}
	var b strings.Builder
	for _, p := range slices.SortedFunc(maps.Keys(*m), layer.ComparePaths) {
		n := (*m)[p]
		fmt.Fprintf(&b, n.text, p)
		if n.implied {
			b.WriteString(" @0")
		}
		if names[n] > 1 {
			if numbers[n] == 0 {
				numbers[n] = len(numbers) + 1
			}
			fmt.Fprintf(&b, " #%d", numbers[n])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
