package tree

import (
	"path"
	"slices"
	"testing"
)

func TestWalk(t *testing.T) {
	v := specView(t, "f a/b/c; f a/b.d; f a/e; l l a; l a/up ..; f a0", "h z a/e; f a/b/d")
	for _, tt := range []struct {
		path string
		want []string
	}{
		{"", []string{"", "a", "a/b", "a/b/c", "a/b/d", "a/b.d", "a/e", "a/up", "a0", "l", "z"}},
		{"/", []string{"", "a", "a/b", "a/b/c", "a/b/d", "a/b.d", "a/e", "a/up", "a0", "l", "z"}},
		{"/a/b/", []string{"a/b", "a/b/c", "a/b/d"}},
		{"a/e", []string{"a/e"}},
		{"l", []string{"l"}},
		{"l/b", []string{"a/b", "a/b/c", "a/b/d"}},
		{"gone", nil},
		{"a/e/x", nil},
	} {
		var got []string
		for p, n := range v.Walk(tt.path) {
			got = append(got, p)
			if n.Name() != path.Base("/"+p) && p != "" {
				t.Errorf("%q has the name %q", p, n.Name())
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestWalkElsewhere(t *testing.T) {
	v := specView(t, "f a/b/c; h a/d a/b/c")
	a, err := v.Lookup("a")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string][]string{
		"":    {"", "b", "b/c", "d"},
		"x/y": {"x/y", "x/y/b", "x/y/b/c", "x/y/d"},
	} {
		var got []string
		for p := range a.Walk(at) {
			got = append(got, p)
		}
		if !slices.Equal(got, want) {
			t.Errorf("at %q: %q, want %q", at, got, want)
		}
	}
}

func TestWalkStops(t *testing.T) {
	v := specView(t, "f a/b; f c")
	for stop := range 4 {
		n := 0
		for range v.Walk("") {
			if n == stop {
				break
			}
			n++
		}
		if n != stop {
			t.Errorf("went on to %d after %d", n, stop)
		}
	}
}

func TestChildren(t *testing.T) {
	v := specView(t, "f d/c; f d/a; d d/b; f f")
	d, _ := v.Lookup("d")
	var got []string
	for c := range d.Children() {
		got = append(got, c.Name())
	}
	if !slices.Equal(got, []string{"a", "b", "c"}) || d.NumChildren() != 3 {
		t.Errorf("%q, %d", got, d.NumChildren())
	}
	for _, name := range []string{"", ".", "..", "a/b", "d", "aa"} {
		if _, ok := d.Child(name); ok {
			t.Errorf("there is a child %q", name)
		}
	}
	f, _ := v.Lookup("f")
	if _, ok := f.Child("x"); ok || f.NumChildren() != 0 {
		t.Error("a file has children")
	}
	for range f.Children() {
		t.Error("a file has children")
	}
}
