package layer_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

// withFiles is a layer in which regular files contain their own paths.
func withFiles(t *testing.T, entries ...layer.Entry) layer.Layer {
	t.Helper()
	files := make([]layer.File, len(entries))
	for i, e := range entries {
		files[i].Entry = e
		if e.Type == layer.Regular {
			files[i].Content, files[i].Size = layer.Bytes([]byte(e.Path)), int64(len(e.Path))
		}
	}
	l, err := layer.New(files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// outline lists a layer's entries, with links and contents.
func outline(t *testing.T, l layer.Layer) string {
	t.Helper()
	x, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for e := range x.All() {
		s := e.Path
		switch {
		case e.Type == layer.Whiteout:
			s = "-" + s
		case e.Opaque:
			s += "/!"
		case e.Type == layer.Directory:
			s += "/"
		case e.Type == layer.Hardlink:
			s += "=" + e.Link
		case e.Type == layer.Regular:
			s += ":" + string(try(io.ReadAll(try(l.Open(t.Context(), e.Path))(t)))(t))
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestSquash(t *testing.T) {
	file := func(p string) layer.Entry { return layer.Entry{Path: p, Type: layer.Regular, Mode: 0o644} }
	dir := func(p string) layer.Entry { return layer.Entry{Path: p, Type: layer.Directory, Mode: 0o755} }
	gone := func(p string) layer.Entry { return layer.Entry{Path: p, Type: layer.Whiteout} }
	link := func(p, to string) layer.Entry { return layer.Entry{Path: p, Type: layer.Hardlink, Link: to} }
	for name, test := range map[string]struct {
		layers [][]layer.Entry
		want   string
	}{
		"nothing":                         {nil, ""},
		"side by side":                    {[][]layer.Entry{{file("a")}, {file("b")}}, "a:a b:b"},
		"what comes later counts":         {[][]layer.Entry{{file("a")}, {{Path: "a", Type: layer.Symlink, Link: "b"}}}, "a"},
		"a secret that was deleted":       {[][]layer.Entry{{file("a"), file("b")}, {gone("a")}}, "-a b:b"},
		"a deleted directory":             {[][]layer.Entry{{dir("d"), file("d/a")}, {gone("d")}}, "-d"},
		"made again":                      {[][]layer.Entry{{gone("d")}, {dir("d"), file("d/a")}}, "d/! d/a:d/a"},
		"made again without saying so":    {[][]layer.Entry{{gone("d")}, {file("d/a")}}, "d/! d/a:d/a"},
		"a file that was a directory":     {[][]layer.Entry{{dir("d"), file("d/a")}, {file("d")}}, "d:d"},
		"a directory that was a file":     {[][]layer.Entry{{file("d")}, {dir("d")}}, "d/!"},
		"an opaque directory":             {[][]layer.Entry{{dir("d"), file("d/a")}, {{Path: "d", Type: layer.Directory, Opaque: true}, file("d/b")}}, "d/! d/b:d/b"},
		"links stay links":                {[][]layer.Entry{{file("a"), link("b", "a")}, {file("c")}}, "a:a b=a c:c"},
		"a link whose target is replaced": {[][]layer.Entry{{file("a"), link("b", "a")}, {file("a")}}, "a:a b:a"},
		"a link whose target is deleted":  {[][]layer.Entry{{file("a"), link("b", "a"), link("c", "a")}, {gone("a")}}, "-a b:a c=b"},
		"a link across layers":            {[][]layer.Entry{{file("b")}, {link("a", "b")}}, "a:b b=a"},
		"a link to what is below":         {[][]layer.Entry{{link("a", "base")}}, "a=base"},
	} {
		t.Run(name, func(t *testing.T) {
			var layers []layer.Layer
			for _, entries := range test.layers {
				layers = append(layers, withFiles(t, entries...))
			}
			l, err := layer.Squash(t.Context(), layers)
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(t, l); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	replaced := []layer.Layer{withFiles(t, link("a", "base")), withFiles(t, file("base"))}
	if _, err := layer.Squash(t.Context(), replaced); err == nil || !strings.Contains(err.Error(), "hard link") {
		t.Errorf("got %v", err)
	}
}

func TestWithout(t *testing.T) {
	l := withFiles(t, layer.Entry{Path: "a", Type: layer.Regular}, layer.Entry{Path: "b", Type: layer.Hardlink, Link: "a"},
		layer.Entry{Path: "c", Type: layer.Hardlink, Link: "a"}, layer.Entry{Path: "d", Type: layer.Whiteout})
	for want, dropped := range map[string][]string{
		"b:a c=b -d":     {"a"},
		"a:a c=a -d":     {"b"},
		"a:a b=a c=a":    {"d"},
		"c:a":            {"a", "b", "d"},
		"a:a b=a c=a -d": {"x"},
	} {
		got, err := layer.Without(t.Context(), l, func(p string) bool { return slices.Contains(dropped, p) })
		if err != nil {
			t.Fatal(err)
		}
		if outline(t, got) != want {
			t.Errorf("without %q: %q, want %q", dropped, outline(t, got), want)
		}
		if (got == l) != slices.Contains(dropped, "x") {
			t.Errorf("without %q: the same layer: %t", dropped, got == l)
		}
	}
}
