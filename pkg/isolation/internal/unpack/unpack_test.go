package unpack_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

func newUnpacker(tb testing.TB) *unpack.Unpacker {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: files are given owners, and whiteouts are device nodes")
	}
	u, err := unpack.New(unpack.Options{Xattrs: overlay.User, Workers: 2})
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func newLayer(tb testing.TB, entries ...layer.Entry) layer.Layer {
	tb.Helper()
	var files []layer.File
	for _, e := range entries {
		f := layer.File{Entry: e}
		if e.Type == layer.Regular && e.Size > 0 {
			f.Content = layer.Bytes(make([]byte, e.Size))
		}
		files = append(files, f)
	}
	l, err := layer.New(files)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func dir(p string) layer.Entry {
	return layer.Entry{Path: p, Type: layer.Directory, Mode: 0o755, ModTime: time.Unix(7, 0)}
}

func file(p string) layer.Entry {
	return layer.Entry{Path: p, Type: layer.Regular, Mode: 0o644, ModTime: time.Unix(7, 0)}
}

func TestLayer(t *testing.T) {
	u := newUnpacker(t)
	opaque := dir("opaque")
	opaque.Opaque, opaque.Mode, opaque.UID, opaque.GID, opaque.ModTime = true, 0o1770, 1, 2, time.Unix(1234567890, 123456789)
	suid := layer.Entry{Path: "opaque/suid", Type: layer.Regular, Mode: 0o6755, UID: 3, GID: 4, Size: 1_000_000, ModTime: time.Unix(1, 5)}
	top := t.TempDir()
	err := u.Layer(t.Context(), newLayer(t,
		dir(""), opaque, suid,
		layer.Entry{Path: "opaque/gone", Type: layer.Whiteout}, // of nothing
		layer.Entry{Path: "gone", Type: layer.Whiteout},
		layer.Entry{Path: "link", Type: layer.Symlink, UID: 5, GID: 6, Link: "../../etc", ModTime: time.Unix(2, 0)},
		layer.Entry{Path: "hard", Type: layer.Hardlink, Link: "hard2"},
		layer.Entry{Path: "hard2", Type: layer.Hardlink, Link: "opaque/suid"},
	), nil, top)
	if err != nil {
		t.Fatal(err)
	}
	type want struct {
		path       string
		mode       uint32
		uid, gid   uint32
		nlink      uint64
		size       int64
		sec, nsec  int64
		wantOpaque bool
	}
	for _, w := range []want{
		{path: "", mode: unix.S_IFDIR | 0o755, sec: 7},
		{path: "opaque", mode: unix.S_IFDIR | 0o1770, uid: 1, gid: 2, sec: 1234567890, nsec: 123456789, wantOpaque: true},
		{path: "opaque/suid", mode: unix.S_IFREG | 0o6755, uid: 3, gid: 4, nlink: 3, size: 1_000_000, sec: 1, nsec: 5},
		{path: "hard", mode: unix.S_IFREG | 0o6755, uid: 3, gid: 4, nlink: 3, size: 1_000_000, sec: 1, nsec: 5},
		{path: "link", mode: unix.S_IFLNK | 0o777, uid: 5, gid: 6, nlink: 1, size: 9, sec: 2},
		{path: "gone", mode: unix.S_IFCHR, nlink: 1, sec: -1},
	} {
		p := filepath.Join(top, w.path)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Errorf("%s: %v", w.path, err)
			continue
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if st.Mode != w.mode || st.Uid != w.uid || st.Gid != w.gid || !isDir && (st.Nlink != w.nlink || st.Size != w.size) {
			t.Errorf("%s: mode %o, owner %d:%d, %d links, size %d; want %+v", w.path, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, w)
		}
		if w.sec >= 0 && (st.Mtim.Sec != w.sec || st.Mtim.Nsec != w.nsec) {
			t.Errorf("%s: time %d.%09d, want %d.%09d", w.path, st.Mtim.Sec, st.Mtim.Nsec, w.sec, w.nsec)
		}
		value := make([]byte, 8)
		n, err := unix.Lgetxattr(p, "user.overlay.opaque", value)
		if got := err == nil && string(value[:n]) == "y"; got != w.wantOpaque {
			t.Errorf("%s: opaque is %v", w.path, got)
		}
	}
	if _, err := os.Lstat(filepath.Join(top, "opaque/gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a whiteout lies in an opaque directory, where overlayfs would list it")
	}
}

// TestHostileLayers unpacks what no honest tool makes, and checks that nothing outside of the
// directory is touched.
func TestHostileLayers(t *testing.T) {
	u := newUnpacker(t)
	for _, c := range []struct {
		name    string
		entries []layer.Entry
	}{
		{"below a link of the same layer", []layer.Entry{{Path: "a", Type: layer.Symlink, Link: "../outside"}, file("a/f")}},
		{"below an absolute link of the same layer", []layer.Entry{{Path: "a", Type: layer.Symlink, Link: "/"}, file("a/f")}},
		{"below a file", []layer.Entry{file("a"), file("a/f")}},
		{"below a hard link", []layer.Entry{file("f"), {Path: "a", Type: layer.Hardlink, Link: "f"}, file("a/f")}},
		{"below nothing", []layer.Entry{file("a/f")}},
		{"hard link to nothing", []layer.Entry{{Path: "a", Type: layer.Hardlink, Link: "none"}}},
		{"hard link through a link", []layer.Entry{{Path: "l", Type: layer.Symlink, Link: "../outside"}, {Path: "a", Type: layer.Hardlink, Link: "l/secret"}}},
		{"hard link to a directory", []layer.Entry{dir("d"), {Path: "a", Type: layer.Hardlink, Link: "d"}}},
		{"hard links in a circle", []layer.Entry{{Path: "a", Type: layer.Hardlink, Link: "b"}, {Path: "b", Type: layer.Hardlink, Link: "a"}}},
		{"a name that is too long", []layer.Entry{file(strings.Repeat("x", 300))}},
		{"directories that are nested too deep", deep(5000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			outside := filepath.Join(top, "outside")
			inside := filepath.Join(top, "inside")
			for _, d := range []string{outside, inside} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := u.Layer(t.Context(), newLayer(t, c.entries...), nil, inside); err == nil {
				t.Error("no error")
			}
			names, err := os.ReadDir(outside)
			if err != nil || len(names) != 1 {
				t.Errorf("outside there are %v (%v)", names, err)
			}
		})
	}
}

func deep(n int) []layer.Entry {
	var entries []layer.Entry
	for i := range n {
		entries = append(entries, dir(strings.Repeat("d/", i)+"d"))
	}
	return entries
}

func TestContentOfAnotherLength(t *testing.T) {
	u := newUnpacker(t)
	for _, size := range []int64{3, 5} {
		l, err := layer.New([]layer.File{{Entry: layer.Entry{Path: "f", Type: layer.Regular, Size: size}, Content: layer.Bytes([]byte("four"))}})
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Layer(t.Context(), l, nil, t.TempDir()); err == nil {
			t.Errorf("four bytes for a size of %d give no error", size)
		}
	}
}

func TestInheritedAttributesAreTakenAway(t *testing.T) {
	u := newUnpacker(t)
	top := t.TempDir()
	if err := errors.Join(os.Chown(top, 0, 99), os.Chmod(top, fs.ModeSetgid|0o777)); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(top, "inside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := u.Layer(t.Context(), newLayer(t, dir("d"), file("d/f")), nil, inside); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "d", "d/f"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(inside, name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Gid != 0 || st.Mode&unix.S_ISGID != 0 {
			t.Errorf("%q has group %d and mode %o", name, st.Gid, st.Mode)
		}
	}
}

// FuzzLayers stacks two layers made from the input. Whatever the tree accepts can be unpacked, each
// layer alone and both as one, and the latter then has the very files of the tree.
func FuzzLayers(f *testing.F) {
	f.Add([]byte("\x00\x01\x05\x10\x02\x21\x03\x33"), []byte("\x05\x01\x04\x10\x02\x21"))
	f.Add([]byte("\x01\x01\x01\x11\x06\x15"), []byte("\x04\x01\x00\x05\x07\x33\x04\x37"))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		u := newUnpacker(t)
		var stack *tree.Tree
		var tc unpack.Context
		for _, data := range [][]byte{lower, upper} {
			l, err := layer.New(decode(data))
			if err != nil {
				return // a path twice
			}
			if tc.Below, err = stack.View(t.Context()); err != nil {
				t.Fatal(err)
			}
			stack = stack.Push(l)
			if tc.Merged, err = stack.View(t.Context()); err != nil {
				return // refused, as the layers of TestHostileLayers
			}
			x, err := l.Index(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if unpack.SelfContained(x, tc.Below) {
				if err := u.Layer(t.Context(), l, nil, t.TempDir()); err != nil {
					t.Fatal(err)
				}
			}
			if err := u.Layer(t.Context(), l, &tc, t.TempDir()); err != nil {
				t.Fatal(err)
			}
		}
		flat := t.TempDir()
		if err := u.View(t.Context(), tc.Merged, flat); err != nil {
			t.Fatal(err)
		}
		compare(t, flat, tc.Merged)
	})
}

// decode makes an entry of every two bytes: the kind, and four letters of a path.
func decode(data []byte) []layer.File {
	var files []layer.File
	for ; len(data) >= 2; data = data[2:] {
		path := string("ab"[data[1]&1])
		for bits := data[1] >> 1; bits&1 != 0 && len(path) < 7; bits >>= 2 {
			path += "/" + string("ab"[bits>>1&1])
		}
		e := layer.Entry{Path: path, Type: layer.Type(data[0]%8 + 1), Mode: 0o755, ModTime: time.Unix(int64(data[0]), 0)}
		switch e.Type {
		case layer.Directory:
			e.Opaque = data[0]&0x80 != 0
		case layer.Symlink, layer.Hardlink:
			e.Link = string("ab"[data[0]>>7])
		}
		files = append(files, layer.File{Entry: e})
	}
	return files
}

func compare(t *testing.T, dir string, v *tree.View) {
	t.Helper()
	n := 0
	for p, node := range v.Walk("") {
		n++
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, p), &st); err != nil {
			t.Errorf("%q: %v", p, err)
			continue
		}
		kinds := map[layer.Type]uint32{
			layer.Regular: unix.S_IFREG, layer.Directory: unix.S_IFDIR, layer.Symlink: unix.S_IFLNK,
			layer.CharDevice: unix.S_IFCHR, layer.BlockDevice: unix.S_IFBLK, layer.Fifo: unix.S_IFIFO,
		}
		e := node.Entry()
		if st.Mode&unix.S_IFMT != kinds[e.Type] || st.Mtim.Sec != e.ModTime.Unix() {
			t.Errorf("%q is of mode %o with time %d, want %+v", p, st.Mode, st.Mtim.Sec, *e)
		}
	}
	err := filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n--; return nil })
	if err != nil || n != 0 {
		t.Errorf("the directory has %d files more than the tree (%v)", -n, err)
	}
}
