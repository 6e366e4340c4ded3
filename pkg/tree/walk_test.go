package tree

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"syscall"
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

func TestGlob(t *testing.T) {
	v := specView(t, `
		f a.go; f b.go; f c.txt; f dir/a.go; f dir/sub/a.go; f dir.d/a.go; f dir/*; f [x]
		l link dir; l dir/loop ..; l l.go gone; f é.txt`)
	for _, tt := range []struct {
		pattern string
		want    []string
		err     error
	}{
		{"*.go", []string{"a.go", "b.go", "l.go"}, nil},
		{"/*.go", []string{"a.go", "b.go", "l.go"}, nil},
		{"./x/../*.go", []string{"a.go", "b.go", "l.go"}, nil},
		{"../*.txt", []string{"c.txt", "é.txt"}, nil},
		{"?.txt", []string{"c.txt", "é.txt"}, nil},
		{"[a-b].go", []string{"a.go", "b.go"}, nil},
		{"[^a].go", []string{"b.go", "l.go"}, nil},
		{"*/a.go", []string{"dir/a.go", "dir.d/a.go"}, nil}, // not through link
		{"d*/*/a.go", []string{"dir/sub/a.go"}, nil},
		{"dir*", []string{"dir", "dir.d"}, nil},
		{"link/*.go", []string{"dir/a.go"}, nil}, // before the wildcard links are followed
		{"dir/loop/d*", []string{"dir", "dir.d"}, nil},
		{"dir/*/d*", nil, nil}, // behind it they are not
		{`dir/\**`, []string{"dir/*"}, nil},
		{`\[x?`, []string{"[x]"}, nil},
		{"*.go/*", nil, nil},
		{"a.go/*", nil, nil},
		{"*/", []string{"[x]", "a.go", "b.go", "c.txt", "dir", "dir.d", "l.go", "link", "é.txt"}, nil},
		{"nothing*", nil, nil},

		{"a.go", []string{"a.go"}, nil},
		{"gone", []string{"gone"}, nil},
		{"/link/../gone/", []string{"gone"}, nil},
		{"", []string{""}, nil},
		{".", []string{""}, nil},

		{"gone/*", nil, fs.ErrNotExist},
		{"a.go/x/*", nil, syscall.ENOTDIR},
		{"[", nil, path.ErrBadPattern},
		{"*/[a", nil, path.ErrBadPattern},
	} {
		got, err := v.Glob(tt.pattern)
		if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, %v; want %q, %v", tt.pattern, got, err, tt.want, tt.err)
		}
	}
}

func TestOpen(t *testing.T) {
	v := specView(t, "f d/f content; l l d/f; h h d/f; f empty; p p; l loop loop")
	for _, tt := range []struct {
		path, want string
		err        error
	}{
		{"d/f", "content", nil},
		{"/l", "content", nil},
		{"h", "content", nil},
		{"empty", "", nil},
		{"d", "", fs.ErrInvalid},
		{"p", "", fs.ErrInvalid},
		{"gone", "", fs.ErrNotExist},
		{"d/f/x", "", syscall.ENOTDIR},
		{"loop", "", syscall.ELOOP},
	} {
		data, err := v.ReadFile(t.Context(), tt.path, 7)
		if string(data) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ReadFile %s: %q, %v; want %q, %v", tt.path, data, err, tt.want, tt.err)
		}
		r, err := v.Open(t.Context(), tt.path)
		if !errors.Is(err, tt.err) {
			t.Errorf("Open %s: %v, want %v", tt.path, err, tt.err)
		}
		if err == nil {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := v.ReadFile(t.Context(), "d/f", 6); !errors.Is(err, ErrTooLong) {
		t.Errorf("a file of 7 bytes with a limit of 6: %v", err)
	}
}

func TestEmptyView(t *testing.T) {
	var scratch *Tree
	v, err := scratch.View(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	e := v.Root().Entry()
	if v.Len() != 1 || !v.Root().IsDir() || v.Root().Name() != "" || v.Root().Layer() != nil || e.Mode != 0o755 || e.UID != 0 || e.ModTime.Unix() != 0 {
		t.Errorf("the root of nothing is %+v", e)
	}
}
