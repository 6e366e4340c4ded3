package op_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, dir string, l op.Local) *tree.View {
	t.Helper()
	l.Name = "context"
	out, err := l.Run(t.Context(), &op.Env{Locals: map[string]op.Files{"context": op.Directory(dir)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := out[0].View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func paths(v *tree.View) []string {
	var all []string
	for p := range v.Walk("") {
		if p != "" {
			all = append(all, p)
		}
	}
	return all
}

func TestLocalFilters(t *testing.T) {
	dir := contextDir(t, map[string]string{"a.go": "", "a.md": "", "sub/b.go": "", "sub/keep.md": "", "deep/er/c": ""})
	if err := os.Symlink("sub/b.go", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		local op.Local
		want  []string
	}{
		"all":       {op.Local{}, []string{"a.go", "a.md", "deep", "deep/er", "deep/er/c", "link", "sub", "sub/b.go", "sub/keep.md"}},
		"exclude":   {op.Local{Exclude: []string{"**/*.md", "!sub/keep.md", "deep"}}, []string{"a.go", "link", "sub", "sub/b.go", "sub/keep.md"}},
		"include":   {op.Local{Include: []string{"deep/er"}}, []string{"deep", "deep/er", "deep/er/c"}},
		"follow":    {op.Local{FollowPaths: []string{"link"}}, []string{"link", "sub", "sub/b.go"}},
		"nothing":   {op.Local{FollowPaths: []string{"absent"}}, nil},
		"wild card": {op.Local{FollowPaths: []string{"*.go"}}, []string{"a.go"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := paths(load(t, dir, c.local)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLocalMetadata(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making devices and owners needs root")
	}
	dir := contextDir(t, map[string]string{"f": "content", "set": "", "x": ""})
	at := func(name string) string { return filepath.Join(dir, name) }
	listener, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	mtime := time.Unix(1234, 567)
	for _, err := range []error{
		os.Link(at("f"), at("g")),
		os.Symlink("/anywhere", at("s")),
		os.Chown(at("set"), 77, 78), os.Chmod(at("set"), 0o755|os.ModeSetuid|os.ModeSticky),
		unix.Mkfifo(at("p"), 0o600),
		unix.Mknod(at("c"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Setxattr(at("x"), "user.a", []byte("v\x00"), 0),
		os.Chtimes(at("f"), mtime, mtime),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	v := load(t, dir, op.Local{})
	for name, check := range map[string]func(e *layer.Entry) bool{
		"f":      func(e *layer.Entry) bool { return e.Type == layer.Regular && e.Size == 7 && e.ModTime.Equal(mtime) },
		"s":      func(e *layer.Entry) bool { return e.Type == layer.Symlink && e.Link == "/anywhere" },
		"set":    func(e *layer.Entry) bool { return e.Mode == 0o5755 && e.UID == 0 && e.GID == 0 },
		"p":      func(e *layer.Entry) bool { return e.Type == layer.Fifo && e.Mode == 0o600 },
		"c":      func(e *layer.Entry) bool { return e.Type == layer.CharDevice && e.Major == 1 && e.Minor == 3 },
		"x":      func(e *layer.Entry) bool { return e.Xattrs["user.a"] == "v\x00" },
		"socket": func(e *layer.Entry) bool { return e.Type == layer.Regular && e.Size == 0 },
	} {
		n, err := v.LookupNoFollow(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if !check(n.Entry()) {
			t.Errorf("%s: got %+v", name, n.Entry())
		}
	}
	f, _ := v.Lookup("f")
	g, _ := v.Lookup("g")
	if !f.SameInode(g) {
		t.Error("the hard link was lost")
	}
	for name, want := range map[string]string{"f": "content", "g": "content", "socket": ""} {
		if got, err := v.ReadFile(t.Context(), name, 100); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What changes between listing and reading is an error that names the file, never a layer that is
// half of the one and half of the other.
func TestLocalChangesAreNoticed(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"longer": func(p string) error { return os.WriteFile(p, []byte("content and more"), 0o644) },
		"replaced": func(p string) error {
			return errors.Join(os.WriteFile(p+"2", []byte("CONTENT"), 0o644), os.Rename(p+"2", p))
		},
		"touched": func(p string) error { return os.Chtimes(p, time.Unix(5, 0), time.Unix(5, 0)) },
		"link":    func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := contextDir(t, map[string]string{"sub/f": "content"})
			v := load(t, dir, op.Local{})
			if err := change(filepath.Join(dir, "sub/f")); err != nil {
				t.Fatal(err)
			}
			r, err := v.Open(t.Context(), "sub/f")
			if err == nil {
				_, err = io.ReadAll(r)
				err = errors.Join(err, r.Close())
			}
			if err == nil || !strings.Contains(err.Error(), "sub/f") {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
}

func TestLocalUnknownName(t *testing.T) {
	l := op.Local{Name: "assets"}
	if _, err := l.Run(t.Context(), &op.Env{}, nil); err == nil || !strings.Contains(err.Error(), "--build-context assets=") {
		t.Errorf("got %v", err)
	}
}

// The key does not depend on who checked the files out, or when.
func TestLocalKey(t *testing.T) {
	key := func(dir string) op.Key {
		k, err := (&op.Local{Name: "context"}).Key(t.Context(), &op.Env{Locals: map[string]op.Files{"context": op.Directory(dir)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a := contextDir(t, map[string]string{"f": "1", "d/g": "2"})
	b := contextDir(t, map[string]string{"f": "1", "d/g": "2"})
	if err := os.Chtimes(filepath.Join(b, "f"), time.Unix(9, 0), time.Unix(9, 0)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(b, "f"), 500, 500); err != nil {
			t.Fatal(err)
		}
	}
	if key(a) != key(b) {
		t.Error("time or owner of the checkout is in the key")
	}
	if key(a) == key(contextDir(t, map[string]string{"f": "1", "d/g": "3"})) {
		t.Error("content is not in the key")
	}
	if err := os.Chmod(filepath.Join(b, "f"), 0o755); err != nil {
		t.Fatal(err)
	}
	if key(a) == key(b) {
		t.Error("mode is not in the key")
	}
}

func TestSnippet(t *testing.T) {
	l := op.Location{Filename: "Dockerfile", Data: []byte("FROM a\nRUN b\nRUN c\nRUN d\nRUN e\n"), Start: 3, End: 3}
	got := l.Snippet(1)
	for _, want := range []string{"Dockerfile:3\n", " 2 |     RUN b\n", " 3 | >>> RUN c\n", " 4 |     RUN d\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "RUN e") {
		t.Errorf("too much context:\n%s", got)
	}
	for _, bad := range []op.Location{{}, {Data: []byte("x"), Start: 5, End: 6}} {
		if got := bad.Snippet(1); got != "" {
			t.Errorf("%+v: %q, want nothing", bad, got)
		}
	}
}
