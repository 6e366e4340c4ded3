package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

const resolveSpec = `
	d etc; f etc/passwd x; d usr/lib; f usr/lib/libc x; d home/me
	l lib usr/lib; l abs /usr/lib; l up ../../../etc; l dots usr/../etc/./passwd
	l home/me/out ../../../../etc/passwd; l home/me/root /
	l self self; l ring1 ring2; l ring2 ring1; l deepring deepring/x
	l broken gone; l brokendeep gone/away/../x; l tofile etc/passwd; l slash usr/lib/
	l onefile etc/passwd/x; l usr/abs2 /lib/libc`

func TestResolve(t *testing.T) {
	v := specView(t, resolveSpec)
	for _, tt := range []struct {
		path   string
		follow string // what Resolve gives when it follows the last link
		keep   string // and when it does not; same as follow if ""
		err    error
	}{
		{path: "", follow: ""},
		{path: "/", follow: ""},
		{path: ".", follow: ""},
		{path: "..", follow: ""},
		{path: "../../etc", follow: "etc"},
		{path: "/etc/passwd", follow: "etc/passwd"},
		{path: "etc//./passwd", follow: "etc/passwd"},
		{path: "etc/../usr/./lib", follow: "usr/lib"},
		{path: "lib", follow: "usr/lib", keep: "lib"},
		{path: "lib/", follow: "usr/lib", keep: "lib"},
		{path: "lib/.", follow: "usr/lib", keep: "lib"},
		{path: "lib/..", follow: "usr"},
		{path: "lib/libc", follow: "usr/lib/libc"},
		{path: "abs/libc", follow: "usr/lib/libc"},
		{path: "slash/libc", follow: "usr/lib/libc"},
		{path: "usr/abs2", follow: "usr/lib/libc", keep: "usr/abs2"},
		{path: "up", follow: "etc", keep: "up"},
		{path: "up/passwd", follow: "etc/passwd"},
		{path: "dots", follow: "etc/passwd", keep: "dots"},
		{path: "home/me/out", follow: "etc/passwd", keep: "home/me/out"},
		{path: "home/me/root/home/me/root/etc", follow: "etc"},
		{path: "home/me/root/..", follow: ""},

		{path: "gone", follow: "gone", err: syscall.ENOENT},
		{path: "etc/gone/away", follow: "etc/gone/away", err: syscall.ENOENT},
		{path: "lib/gone", follow: "usr/lib/gone", err: syscall.ENOENT},
		{path: "broken", follow: "gone", err: syscall.ENOENT},
		{path: "broken/x", follow: "gone/x", err: syscall.ENOENT},
		{path: "brokendeep", follow: "gone/x", err: syscall.ENOENT},
		{path: "gone/../../x", follow: "x", err: syscall.ENOENT},
		{path: "a\x00b", follow: "a\x00b", err: syscall.ENOENT},

		{path: "self", err: syscall.ELOOP},
		{path: "ring1/x", err: syscall.ELOOP},
		{path: "deepring", err: syscall.ELOOP},
		{path: "etc/passwd/x", err: syscall.ENOTDIR},
		{path: "etc/passwd/..", err: syscall.ENOTDIR},
		{path: "tofile/x", err: syscall.ENOTDIR},
		{path: "onefile", err: syscall.ENOTDIR},
	} {
		t.Run(tt.path, func(t *testing.T) {
			checkResolve(t, v, tt.path, tt.follow, tt.err)
			if tt.err != nil {
				return
			}
			keep := tt.keep
			if keep == "" {
				keep = tt.follow
			}
			got, n, err := v.Resolve(tt.path, false)
			l, lerr := v.LookupNoFollow(tt.path)
			if err != nil || lerr != nil || got != keep || n != l {
				t.Errorf("not following: %q, %v; same node: %v, %v; want %q", got, err, n == l, lerr, keep)
			}
		})
	}
}

func checkResolve(t *testing.T, v *View, path, want string, wantErr error) {
	t.Helper()
	got, n, err := v.Resolve(path, true)
	l, lerr := v.Lookup(path)
	if got != want || !errors.Is(err, wantErr) || !errors.Is(lerr, wantErr) || n != l {
		t.Errorf("Resolve: %q, %v; Lookup: %v, same node: %v; want %q, %v", got, err, lerr, n == l, want, wantErr)
	}
	if (n == nil) != (err != nil) {
		t.Errorf("node is nil: %v, error: %v", n == nil, err)
	}
	var pathErr *fs.PathError
	if err != nil && (!errors.As(err, &pathErr) || pathErr.Path != path) {
		t.Errorf("error %v does not name the path", err)
	}
}

// Links that are missing from a link's way do not matter when the link is not followed.
func TestLookupNoFollowBroken(t *testing.T) {
	v := specView(t, resolveSpec)
	for _, p := range []string{"broken", "self", "ring1", "onefile"} {
		if n, err := v.LookupNoFollow(p); err != nil || n.Name() != p || !n.IsSymlink() {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// "missing/.." is where it started for Resolve, which names places that are yet to be made,
// but Lookup fails like the kernel.
func TestResolveMissingAndBack(t *testing.T) {
	v := specView(t, resolveSpec)
	p, n, err := v.Resolve("etc/gone/../passwd", true)
	if p != "etc/passwd" || err != nil || n == nil {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := v.Lookup("etc/gone/../passwd"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup: %v", err)
	}
}

func TestResolveChain(t *testing.T) {
	for _, tt := range []struct {
		links int
		err   error
	}{{1, nil}, {maxLinks, nil}, {maxLinks + 1, syscall.ELOOP}, {10_000, syscall.ELOOP}} {
		var b strings.Builder
		b.WriteString("f l0 x\n")
		for i := range tt.links {
			fmt.Fprintf(&b, "l l%d l%d\n", i+1, i)
		}
		v := specView(t, b.String())
		n, err := v.Lookup(fmt.Sprintf("l%d", tt.links))
		if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%d links: %v, want %v", tt.links, err, tt.err)
		}
		if err == nil && n.Name() != "l0" {
			t.Errorf("%d links lead to %q", tt.links, n.Name())
		}
	}
}

func TestEmptyLinkTarget(t *testing.T) {
	v := specView(t, "l a")
	if _, err := v.Lookup("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, n, err := v.Resolve("a", true); n != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// FuzzLookup looks a path up in a tree with three symbolic links of any targets, and checks
// that it comes to an end inside the tree: that the answer is the node that is found again
// by going down from the root along the answer.
func FuzzLookup(f *testing.F) {
	f.Add("/d/../..", "x/y/../l1", "l1/l2", "d/l2/l3/../..", true)
	f.Add("l1", "l2/", "l1/.", "l1/d/l2", false)
	f.Add("d/f", "/", "..", "l3/l2/l1", true)
	f.Fuzz(func(t *testing.T, t1, t2, t3, p string, last bool) {
		v := fuzzView(t, t1, t2, t3)
		resolved, n, err := v.Resolve(p, last)
		if at, ok := walkDown(v, resolved); err == nil && (!ok || at != n) {
			t.Fatalf("%q resolves to %q, where another node is, or none", p, resolved)
		}
		if last && err == nil && n.IsSymlink() {
			t.Fatalf("%q resolves to a link, %q", p, resolved)
		}
		for c := range strings.SplitSeq(resolved, "/") {
			if c == "." || c == ".." || c == "" && resolved != "" {
				t.Fatalf("%q resolves to %q", p, resolved)
			}
		}
		if l, lerr := v.Lookup(p); lerr == nil && last && (err != nil || l != n) {
			t.Fatalf("Lookup and Resolve of %q differ", p)
		}
	})
}

func fuzzView(t *testing.T, t1, t2, t3 string) *View {
	t.Helper()
	l := specLayer(t, "f d/f x; d d/e; l l1 x; l d/l2 x; l d/e/l3 x")
	x, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p, target := range map[string]string{"l1": t1, "d/l2": t2, "d/e/l3": t3} {
		e, err := x.Lookup(p)
		if err != nil {
			t.Fatal(err)
		}
		e.Link = target // the layer is this test's own
	}
	v, err := New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// walkDown goes from the root through real directories only.
func walkDown(v *View, p string) (*Node, bool) {
	n := v.Root()
	if p == "" {
		return n, true
	}
	for c := range strings.SplitSeq(p, "/") {
		var ok bool
		if n, ok = n.Child(c); !ok {
			return nil, false
		}
	}
	return n, true
}
