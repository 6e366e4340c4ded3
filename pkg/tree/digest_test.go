package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
)

// edited is the tree of one layer whose entry at "f" or "d" was changed.
func edited(t *testing.T, edit func(*layer.Entry)) *View {
	t.Helper()
	l := specLayer(t, "f f content; d d; l l target; c c 1 3")
	x, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for e := range x.All() {
		edit(e) // the layer is this test's own
	}
	v, err := New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func on(path string, edit func(*layer.Entry)) func(*layer.Entry) {
	return func(e *layer.Entry) {
		if e.Path == path {
			edit(e)
		}
	}
}

func TestDigestAttributes(t *testing.T) {
	plain := digest(t, edited(t, func(*layer.Entry) {}))
	seen := map[layer.Sum]string{plain: "unchanged"}
	for _, tt := range []struct {
		name string
		edit func(*layer.Entry)
		same bool
	}{
		{"mode of a file", on("f", func(e *layer.Entry) { e.Mode = 0o600 }), false},
		{"setuid", on("f", func(e *layer.Entry) { e.Mode |= 0o4000 }), false},
		{"mode of a directory", on("d", func(e *layer.Entry) { e.Mode = 0o700 }), false},
		{"user", on("f", func(e *layer.Entry) { e.UID = 7 }), false},
		{"group", on("f", func(e *layer.Entry) { e.GID = 7 }), false},
		{"user of a directory", on("d", func(e *layer.Entry) { e.UID = 7 }), false},
		{"xattr", on("f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "1"} }), false},
		{"another value", on("f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "2"} }), false},
		{"empty value", on("f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": ""} }), false},
		{"another name", on("f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.b": "1"} }), false},
		{"name and value run together", on("f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.": "a1"} }), false},
		{"two xattrs", on("f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "1", "user.b": "1"} }), false},
		{"xattr of a directory", on("d", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "1"} }), false},
		{"link target", on("l", func(e *layer.Entry) { e.Link = "other" }), false},
		{"major", on("c", func(e *layer.Entry) { e.Major = 3 }), false},
		{"minor", on("c", func(e *layer.Entry) { e.Minor = 4 }), false},
		{"block for character", on("c", func(e *layer.Entry) { e.Type = layer.BlockDevice }), false},

		{"times", func(e *layer.Entry) { e.ModTime = time.Unix(1, 2) }, true},
		{"no xattrs", func(e *layer.Entry) { e.Xattrs = map[string]string{} }, true},
		{"opaqueness", on("d", func(e *layer.Entry) { e.Opaque = true }), true},
	} {
		got := digest(t, edited(t, tt.edit))
		if tt.same {
			if got != plain {
				t.Errorf("%s makes a difference", tt.name)
			}
			continue
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s: same digest as %s", tt.name, other)
		}
		seen[got] = tt.name
	}
}

func digest(t *testing.T, v *View, options ...DigestOption) layer.Sum {
	t.Helper()
	sum, err := v.Digest(t.Context(), "", options...)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Different trees have different digests.
func TestDigestStructure(t *testing.T) {
	seen := map[layer.Sum]string{}
	for _, spec := range []string{
		"d d", "d d; d e", "d d/d", "d d/e", "d e/d",
		"f d", "f d x", "f d xx", "l d x", "p d", "c d 1 2", "c d 2 1",
		"f a; f b", "f ab", "d a; f a/b", "f a x; f b y", "f a y; f b x", "f a xy; f b",
		"d d; d d/a; f d/b", "d d; d d/a; f d/a/b", "d d; f d/a; d d/b",
		"d . 700",
	} {
		sum := digest(t, specView(t, spec))
		if other, ok := seen[sum]; ok {
			t.Errorf("%q and %q have the same digest", spec, other)
		}
		seen[sum] = spec
	}
}

// The same files have the same digest, however their layers came about.
func TestDigestIgnoresHistory(t *testing.T) {
	want := digest(t, specView(t, "d . 755; d a 711; f a/b one; f a/c two; l l a"))
	for _, layers := range [][]string{
		{"d . 755; f a/b one", "d a 711; f a/c two; l l a"},
		{"f a/b one; h a/x a/b; f x one", "d a 711 opaque; h a/b x; f a/c two; w x; l l a"},
		{"f a", "d a 711; f a/b one; f a/c two; l l x", "l l a"},
	} {
		if got := digest(t, specView(t, layers...)); got != want {
			t.Errorf("%q has another digest", layers)
		}
	}
}

func TestDigestOfPath(t *testing.T) {
	v := specView(t, "d a; f a/f one; d b; f b/f one; d c; f c/g one; f f one; l l a; h h f; f g one")
	of := func(p string) layer.Sum {
		t.Helper()
		sum, err := v.Digest(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if of("a") != of("b") || of("f") != of("g") || of("f") != of("h") || of("a/f") != of("f") {
		t.Error("the own name makes a difference")
	}
	if of("a") == of("c") {
		t.Error("the names of children make no difference")
	}
	if of("l") != of("a") {
		t.Error("the link was not followed")
	}
	l, _ := v.LookupNoFollow("l")
	sum, err := l.Digest(t.Context())
	if err != nil || sum == of("a") {
		t.Errorf("the link's own digest: %v", err)
	}
	if _, err := v.Digest(t.Context(), "gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("digest of nothing: %v", err)
	}
}

func TestDigestIgnoreOwner(t *testing.T) {
	plain := edited(t, func(*layer.Entry) {})
	owned := edited(t, func(e *layer.Entry) { e.UID, e.GID = 7, 8 })
	mode := edited(t, on("f", func(e *layer.Entry) { e.Mode = 0o600 }))
	if digest(t, plain, IgnoreOwner) != digest(t, owned, IgnoreOwner) {
		t.Error("the owner makes a difference")
	}
	if digest(t, plain, IgnoreOwner) == digest(t, mode, IgnoreOwner) {
		t.Error("the mode makes no difference")
	}
	if digest(t, plain) == digest(t, plain, IgnoreOwner) {
		t.Error("digests of different kinds are the same")
	}
	if digest(t, plain) == digest(t, owned) {
		t.Error("the kept digest is of the other kind")
	}
}

// The encoding is part of persistent cache keys. If this test fails, digestVersion must change.
func TestDigestIsStable(t *testing.T) {
	const want = "5ad41827d7208a81f690e7af6f61658797fd2b026848b7122b327dd4ef936d5f"
	v := specView(t, "d . 755; f f content; d d 1777; l d/l ../f; c d/c 1 3; p d/p")
	if got := fmt.Sprintf("%x", digest(t, v)); got != want {
		t.Errorf("digest is %s", got)
	}
}

func TestDigestSelection(t *testing.T) {
	v := specView(t, "d d; f d/f one; f f one; f g two; f h one")
	sel := func(pairs ...string) []Selected {
		var s []Selected
		for i := 0; i < len(pairs); i += 2 {
			n, err := v.LookupNoFollow(pairs[i+1])
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, Selected{pairs[i], n})
		}
		return s
	}
	of := func(s []Selected, options ...DigestOption) layer.Sum {
		t.Helper()
		sum, err := DigestSelection(t.Context(), s, options...)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	seen := map[layer.Sum][]string{}
	for _, pairs := range [][]string{
		{},
		{"", "f"},
		{"f", "f"}, {"f", "g"}, {"g", "f"}, {"f", "d"},
		{"f", "f", "g", "g"}, {"g", "g", "f", "f"}, {"f", "g", "g", "f"},
		{"f", "f", "f", "f"},
		{"d", "d", "d/f", "f"}, {"d", "d", "d/f", "g"},
	} {
		sum := of(sel(pairs...))
		if other, ok := seen[sum]; ok {
			t.Errorf("%q and %q have the same digest", pairs, other)
		}
		seen[sum] = pairs
		if of(sel(pairs...), IgnoreOwner) == sum {
			t.Errorf("%q: the option makes no difference", pairs)
		}
	}
	if of(sel("f", "f")) != of(sel("f", "h")) {
		t.Error("the name in the view makes a difference")
	}
	other := specView(t, "d d; f d/g two")
	d, _ := other.Lookup("d")
	if of(sel("d", "d")) != of([]Selected{{"d", d}}) {
		t.Error("what is below a selected directory makes a difference")
	}
}

func TestDigestReadsOnce(t *testing.T) {
	l := &counting{Layer: specLayer(t, "f a/f one; f a/g two; h b/h a/f; f b/i three")}
	base := New(l)
	v, err := base.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := digest(t, v)
	digest(t, v, IgnoreOwner)
	if second := digest(t, v); second != first {
		t.Error("the digest has changed")
	}
	upper, err := base.Push(specLayer(t, "f c")).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if digest(t, upper) == first {
		t.Error("the upper layer makes no difference")
	}
	sel := slices.Collect(func(yield func(Selected) bool) {
		for p, n := range v.Walk("") {
			if !yield(Selected{p, n}) {
				return
			}
		}
	})
	if _, err := DigestSelection(t.Context(), sel); err != nil {
		t.Fatal(err)
	}
	if n := l.opened.Load(); n != 3 {
		t.Errorf("three files were read %d times", n)
	}
}

func TestDigestFails(t *testing.T) {
	lost := errors.New("connection lost")
	l := &failing{specLayer(t, "f a/f one; f a/g two; d d"), lost}
	v, err := New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Digest(t.Context(), "")
	checkError(t, err, lost, "a/")
	if _, err := v.Digest(t.Context(), "d"); err != nil {
		t.Errorf("a directory without content: %v", err)
	}
	a, _ := v.Lookup("a/f")
	_, err = DigestSelection(t.Context(), []Selected{{"f", a}})
	checkError(t, err, lost, "a/f")
}

func TestDigestCancelled(t *testing.T) {
	v := specView(t, "f a one; f b two")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Digest(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	a, _ := v.Lookup("a")
	if _, err := DigestSelection(ctx, []Selected{{"a", a}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	digest(t, v) // nothing of it is kept
}
