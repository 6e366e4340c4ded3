package tree

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

func TestApply(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []string // lowest first
		want   string
	}{
		{"no layer", nil, ""},
		{"empty layer", []string{""}, ""},
		{"all types",
			[]string{"d . 700; d d 1777; f f one; l l f; p p; c c 1 3"},
			"d . 700; c c 1 3; d d 1777; f f one; l l f; p p"},

		{"parents are implied", []string{"f a/b/f"}, "d a 755 @0; d a/b 755 @0; f a/b/f"},
		{"implied parents leave what is below",
			[]string{"d a 700; d a/b 711", "f a/b/f"},
			"d a 700; d a/b 711; f a/b/f"},
		{"an implied parent is made real later",
			[]string{"f a/f", "d a 711"},
			"d a 711; f a/f"},
		{"implied root keeps the one below", []string{"d . 700", "f f"}, "d . 700; f f"},

		{"file over file", []string{"f a one", "f a two"}, "f a two"},
		{"directory over directory merges",
			[]string{"d a 700; f a/x one; f a/y one", "d a 711; f a/y two; f a/z two"},
			"d a 711; f a/x one; f a/y two; f a/z two"},
		{"directory over file", []string{"f a", "d a 711; f a/f"}, "d a 711; f a/f"},
		{"directory over symlink", []string{"d t; l a t", "d a 711"}, "d a 711; d t 755"},
		{"file over directory removes the subtree", []string{"f a/b/c", "f a"}, "f a"},
		{"symlink over directory removes the subtree", []string{"f a/b/c; f t", "l a t"}, "l a t; f t"},
		{"symlink over symlink", []string{"l a x", "l a y"}, "l a y"},
		{"a subtree that was replaced does not come back",
			[]string{"f a/b one", "f a", "d a; f a/c"},
			"d a 755; f a/c"},

		// As overlayfs stacks them; see View.
		{"entry below a symlink hides the link",
			[]string{"f t/f; l a t", "f a/g"},
			"d a 755 @0; f a/g; d t 755 @0; f t/f"},
		{"entry below a file hides the file", []string{"f a", "f a/b/c"}, "d a 755 @0; d a/b 755 @0; f a/b/c"},

		{"whiteout of a file", []string{"f a; f b", "w a"}, "f b"},
		{"whiteout of a directory", []string{"f a/b/c; f b", "w a"}, "f b"},
		{"whiteout of a symlink leaves its target", []string{"f t/f; l a t", "w a"}, "d t 755 @0; f t/f"},
		{"whiteout in a directory", []string{"d a 700; f a/b; f a/c", "w a/b"}, "d a 700; f a/c"},
		{"whiteout of the last child leaves the directory", []string{"d a 700; f a/b", "w a/b"}, "d a 700"},
		{"whiteout of something absent", []string{"f b", "w a; w b/c; w d/e/f"}, "f b"},
		{"whiteout of something absent in the lowest layer", []string{"w a; w b/c"}, ""},
		{"whiteout below a symlink does not follow it", []string{"f t/f; l a t", "w a/f"}, "l a t; d t 755 @0; f t/f"},
		{"whiteout of the parent of an entry",
			[]string{"d a 700; f a/b; f a/c", "w a; f a/d"},
			"d a 755 @0; f a/d"},
		{"whiteout of the parent of whiteouts", []string{"f a/b", "w a; w a/b; w a/c/d"}, ""},
		{"whiteout does not reach its own layer",
			[]string{"f a/x/f; f a/y/f", "d a; w a/x; f a/y/g"},
			"d a 755; d a/y 755 @0; f a/y/f; f a/y/g"},
		{"what was whited out can come back", []string{"f a one", "w a", "f a two"}, "f a two"},

		{"opaque directory", []string{"f a/b; f a/c/d", "d a 711 opaque; f a/e"}, "d a 711; f a/e"},
		{"opaque directory over nothing", []string{"d a opaque; f a/e"}, "d a 755; f a/e"},
		{"opaque directory over a file", []string{"f a", "d a opaque"}, "d a 755"},
		{"opaque directory over a symlink leaves its target", []string{"f t/f; l a t", "d a opaque"}, "d a 755; d t 755 @0; f t/f"},
		{"opaque directory in a kept one", []string{"f a/b/x; f a/c", "d a/b opaque; f a/b/y"}, "d a 755 @0; d a/b 755; f a/b/y; f a/c"},
		{"whiteout in an opaque directory", []string{"f a/b", "d a opaque; w a/b; f a/c"}, "d a 755; f a/c"},
		{"opaque root", []string{"f a; f b", "d . 711 opaque; f c"}, "d . 711; f c"},
		{"opaqueness does not last", []string{"f a/x", "d a opaque", "f a/y"}, "d a 755; f a/y"},

		{"names sort as names, not as paths",
			[]string{"f a/z; f a.b; f a-b", "f a/a; w a.b; f a0"},
			"d a 755 @0; f a/a; f a/z; f a-b; f a0"},
		{"whiteout only of the whole name", []string{"f ab; f a/b", "w a"}, "f ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := specView(t, tt.layers...)
			if got, want := list(t, v), lines(tt.want); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
			checkLen(t, v)
		})
	}
}

func checkLen(t *testing.T, v *View) {
	t.Helper()
	n := 0
	for range v.Walk("") {
		n++
	}
	if v.Len() != n {
		t.Errorf("Len is %d, but there are %d names", v.Len(), n)
	}
}

func TestHardlinks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []string
		want   string
	}{
		{"within a layer", []string{"f b one; h a b; h c/d b"}, "f a one #1; f b one #1; d c 755 @0; f c/d one #1"},
		{"to a link", []string{"f c one; h b c; h a b"}, "f a one #1; f b one #1; f c one #1"},
		{"to a link, against the order", []string{"h a b; h b c; h c d; f d one"}, "f a one #1; f b one #1; f c one #1; f d one #1"},
		{"to a lower layer", []string{"f d/a one", "h b d/a"}, "f b one #1; d d 755 @0; f d/a one #1"},
		{"to a link in a lower layer", []string{"f a one; h b a", "h c b"}, "f a one #1; f b one #1; f c one #1"},
		{"to a lower layer, through a link in the way", []string{"f d/a one; l s d", "h b s/a"}, "f b one #1; d d 755 @0; f d/a one #1; l s d"},
		{"to a symlink, not to its target", []string{"f f; l a f; h b a"}, "l a f #1; l b f #1; f f"},
		{"to a fifo and a device", []string{"p p; c c 1 3; h q p; h d c"}, "c c 1 3 #1; c d 1 3 #1; p p #2; p q #2"},
		{"the own layer's target wins", []string{"f a one", "f a two; h b a"}, "f a two #1; f b two #1"},
		{"to what its layer removes", []string{"f a one", "w a; h b a"}, "f b one"},
		{"to what its layer replaces by a link", []string{"f a one; f c two", "h a c; h b a"}, "f a two #1; f b two #1; f c two #1"},
		{"to the file that it hides the parent of", []string{"f a/b one", "h a a/b"}, "f a one"},
		{"over a directory", []string{"f a/b; f c one", "h a c"}, "f a one #1; f c one #1"},
		{"two inodes", []string{"f a; h b a; f c; h d c"}, "f a #1; f b #1; f c #2; f d #2"},

		{"an overwritten name gets a new inode", []string{"f a one; h b a; h c a", "f a two"}, "f a two; f b one #1; f c one #1"},
		{"an overwritten link leaves the others", []string{"f a one; h b a; h c a", "f b two"}, "f a one #1; f b two; f c one #1"},
		{"a removed target leaves the links", []string{"f a one; h b a; h c a", "w a"}, "f b one #1; f c one #1"},
		{"equal content is no link", []string{"f a one; f b one"}, "f a one; f b one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := specView(t, tt.layers...)
			if got, want := list(t, v), lines(tt.want); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestHardlinkNodes(t *testing.T) {
	v := specView(t, "f a one; f b/x one", "h b/c a")
	a, _ := v.Lookup("a")
	c, _ := v.Lookup("b/c")
	x, _ := v.Lookup("b/x")
	if !a.SameInode(c) || a.SameInode(x) || !a.SameInode(a) {
		t.Error("SameInode is wrong")
	}
	if !a.Linked() || !c.Linked() || x.Linked() {
		t.Error("Linked is wrong")
	}
	if c.Name() != "c" || c.Entry() != a.Entry() || c.Entry().Type != layer.Regular || c.Entry().Path != "a" {
		t.Errorf("the link is %q with the entry %+v", c.Name(), c.Entry())
	}
}

func TestApplyErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []string
		want   []string // parts of the message
		is     error
	}{
		{"hard link to nothing", []string{"f a", "h d/b c"}, []string{`layer 2`, `"d/b"`, `c: no such file`}, fs.ErrNotExist},
		{"hard link to an implied directory", []string{"f a/b; h c a"}, []string{`"c"`, `a: no such file`}, fs.ErrNotExist},
		{"hard link to a directory", []string{"d a; h c a"}, []string{`"c"`, `"a" is a directory`}, nil},
		{"hard link to a directory below", []string{"f a/b", "h c a"}, []string{`"c"`, `"a" is a directory`}, nil},
		{"hard link to itself", []string{"h a a"}, []string{`"a"`, "itself"}, nil},
		{"hard links in a ring", []string{"h a b; h b c; h c a"}, []string{`"a"`, "itself"}, nil},
		{"hard link into a ring", []string{"h a b; h b c; h c b"}, []string{"itself"}, nil},
		{"hard link to a whiteout of nothing", []string{"w a; h b a"}, []string{`"b"`}, fs.ErrNotExist},
		{"entry below a file of the layer", []string{"f a; f a/b"}, []string{`"a/b"`, `"a"`}, nil},
		{"entry below a symlink of the layer", []string{"l a b; f a/b/c"}, []string{`"a/b"`, `"a"`}, nil},
		{"entry below a hard link of the layer", []string{"f a; h b a; f b/c"}, []string{`"b/c"`}, nil},
		{"too deep", []string{"f " + strings.Repeat("a/", maxDepth) + "f"}, []string{"nested"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := specTree(t, tt.layers...).View(t.Context())
			checkError(t, err, tt.is, tt.want...)
		})
	}
}

func TestDeepestPath(t *testing.T) {
	v := specView(t, "f "+strings.Repeat("a/", maxDepth-1)+"f")
	if v.Len() != maxDepth+1 {
		t.Errorf("%d names", v.Len())
	}
}

// What a layer does not touch is the very same node in the views below and above it.
func TestApplyShares(t *testing.T) {
	lower := specTree(t, "d a; f a/b/c; f a/d/e; f f")
	upper := lower.Push(specLayer(t, "f a/b/x; w g; w a/d/g"))
	lv, err := lower.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := list(t, lv)
	uv, err := upper.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p, shared := range map[string]bool{"a": false, "a/b": false, "a/b/c": true, "a/d": true, "f": true} {
		l, lerr := lv.Lookup(p)
		u, uerr := uv.Lookup(p)
		if lerr != nil || uerr != nil || (l == u) != shared {
			t.Errorf("%s: same node is %v, want %v (%v, %v)", p, l == u, shared, lerr, uerr)
		}
	}
	if after := list(t, lv); after != before {
		t.Errorf("the lower view has become:\n%s", after)
	}
}
