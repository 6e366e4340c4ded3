package layer

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestComparePaths(t *testing.T) {
	// Every directory comes directly before everything below it.
	order := []string{
		"", "a", "a/b", "a/b/c", "a/b.c", "a/c", "a\x01", "a b", "a!b", "a-b", "a.b", "a.b/c", "a0", "aa", "b", "\xff",
	}
	for i, a := range order {
		for j, b := range order {
			got, want := ComparePaths(a, b), 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got != want {
				t.Errorf("ComparePaths(%q, %q) is %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestNewIndexSorts(t *testing.T) {
	entries := randomEntries(rand.New(rand.NewPCG(1, 2)), 1000)
	want := make([]string, len(entries))
	for i, e := range entries {
		want[i] = strings.ReplaceAll(e.Path, "/", "\x00") // the slash below all others
	}
	slices.Sort(want)
	x := mustIndex(t, entries)
	for i := range x.Len() {
		p := x.At(i).Path
		if p != strings.ReplaceAll(want[i], "\x00", "/") {
			t.Fatalf("entry %d is %q", i, p)
		}
		if j, ok := x.Find(p); j != i || !ok {
			t.Errorf("Find(%q) is %d, %v, want %d", p, j, ok, i)
		}
		if _, ok := x.Find(p + "x"); ok {
			t.Errorf("found %qx", p)
		}
		if e, err := x.Lookup(p); e != x.At(i) || err != nil {
			t.Errorf("Lookup(%q) is %v, %v", p, e, err)
		}
	}
	if _, err := x.Lookup("no such path"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	n := 0
	for e := range x.All() {
		if e != x.At(n) {
			t.Fatalf("All yields %q as number %d", e.Path, n)
		}
		if n++; n == 10 {
			break
		}
	}
}

func TestNewIndexRefuses(t *testing.T) {
	tests := map[string][]Entry{
		"path twice":            {{Path: "a", Type: Directory}, {Path: "b", Type: Fifo}, {Path: "a", Type: Regular}},
		"absolute path":         {{Path: "/a", Type: Directory}},
		"path that climbs":      {{Path: "../a", Type: Directory}},
		"parent":                {{Path: "..", Type: Directory}},
		"dot":                   {{Path: ".", Type: Directory}},
		"trailing slash":        {{Path: "a/", Type: Directory}},
		"double slash":          {{Path: "a//b", Type: Directory}},
		"zero byte":             {{Path: "a\x00b", Type: Directory}},
		"root that is a file":   {{Path: "", Type: Regular}},
		"no type":               {{Path: "a"}},
		"unknown type":          {{Path: "a", Type: Whiteout + 1}},
		"mode":                  {{Path: "a", Type: Regular, Mode: 0o10000}},
		"negative size":         {{Path: "a", Type: Regular, Size: -1}},
		"directory with size":   {{Path: "a", Type: Directory, Size: 1}},
		"opaque file":           {{Path: "a", Type: Regular, Opaque: true}},
		"hard link to nothing":  {{Path: "a", Type: Hardlink}},
		"hard link that climbs": {{Path: "a", Type: Hardlink, Link: "../b"}},
	}
	for name, entries := range tests {
		if _, err := NewIndex(entries); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
