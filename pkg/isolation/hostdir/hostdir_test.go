package hostdir

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// asUser is set in the environment of a test that was started again without privilege.
const asUser = "SLIPWAY_TEST_AS_USER"

// sample is a layer with everything that a cache may hold. Owners and modes are such that no ordinary user
// may give, and some could not read.
func sample(t *testing.T) layer.Layer {
	t.Helper()
	at := time.Unix(1_000_000_000, 5000).UTC()
	entry := func(e layer.Entry, content string) layer.File {
		e.ModTime = at
		f := layer.File{Entry: e}
		if content != "" {
			f.Size, f.Content = int64(len(content)), layer.Bytes([]byte(content))
		}
		return f
	}
	l, err := layer.New([]layer.File{
		entry(layer.Entry{Type: layer.Directory, Mode: 0o1777, UID: 7, GID: 8}, ""),
		entry(layer.Entry{Path: "d", Type: layer.Directory, Mode: 0o500, UID: 33, GID: 44}, ""),
		entry(layer.Entry{Path: "d/e", Type: layer.Directory, Mode: 0o755, UID: 1000, GID: 1000}, ""), // whom the test may be
		entry(layer.Entry{Path: "d/e/f", Type: layer.Regular, Mode: 0o644, UID: 1000, GID: 5}, "x"),
		entry(layer.Entry{Path: "d/f", Type: layer.Regular, Mode: 0o4711, UID: 33, GID: 44, Xattrs: map[string]string{"user.a": "1"}}, "content"),
		entry(layer.Entry{Path: "d/g", Type: layer.Regular, Mode: 0, UID: 70_000, GID: 1}, "hidden"),
		entry(layer.Entry{Path: "d/h", Type: layer.Hardlink, Link: "d/f"}, ""),
		entry(layer.Entry{Path: "empty", Type: layer.Regular, Mode: 0o644}, ""),
		entry(layer.Entry{Path: "link", Type: layer.Symlink, Mode: 0o777, Link: "../../outside"}, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// described is what a directory holds, as Read tells it.
func described(t *testing.T, root *os.Root) (map[string]layer.Entry, map[string]string) {
	t.Helper()
	l, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return entriesOf(t, l)
}

func entriesOf(t *testing.T, l layer.Layer) (map[string]layer.Entry, map[string]string) {
	t.Helper()
	x, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, contents := map[string]layer.Entry{}, map[string]string{}
	for e := range x.All() {
		c := *e
		c.Sum = layer.Sum{}
		switch c.Type {
		case layer.Hardlink:
			c = layer.Entry{Path: c.Path, Type: c.Type, Link: c.Link}
		case layer.Symlink:
			c = layer.Entry{Path: c.Path, Type: c.Type, Link: c.Link, ModTime: c.ModTime}
		}
		entries[c.Path] = c
		if e.Type != layer.Regular {
			continue
		}
		r, err := l.Open(t.Context(), e.Path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		contents[e.Path] = string(data)
		_ = r.Close()
	}
	return entries, contents
}

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// What is applied is read again, with owners and modes, also without privilege.
func TestApplyThenRead(t *testing.T) {
	t.Run("as it is", applyThenRead)
	t.Run("as an ordinary user", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("this is one already")
		}
		dir := t.TempDir()
		for d, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777} { // others have to reach it
			if err := os.Chmod(d, mode); err != nil {
				t.Fatal(err)
			}
		}
		exe := filepath.Join(dir, "test")
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(exe, self, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestWithoutPrivilege$", "-test.v")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), asUser+"=1", "TMPDIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestWithoutPrivilege(t *testing.T) {
	if os.Getenv(asUser) == "" {
		t.Skip("TestApplyThenRead runs it, as an ordinary user")
	}
	applyThenRead(t)
}

func applyThenRead(t *testing.T) {
	root, filled, l := openRoot(t), openRoot(t), sample(t)
	if err := unix.Setxattr(root.Name(), "user.try", nil, 0); err != nil {
		t.Skipf("the filesystem has no extended attributes: %v", err)
	}
	if err := unix.Removexattr(root.Name(), "user.try"); err != nil {
		t.Fatal(err)
	}
	v, err := tree.New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		root   *os.Root
		change func() error
	}{
		{filled, func() error { return Fill(t.Context(), v.Root(), filled.Name()) }},
		{root, func() error { return Apply(t.Context(), root, l) }},
		{root, func() error { return Apply(t.Context(), root, l) }}, // over what is there
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		got, gotContents := described(t, c.root)
		want, wantContents := entriesOf(t, l)
		if !reflect.DeepEqual(gotContents, wantContents) {
			t.Errorf("contents are %q, want %q", gotContents, wantContents)
		}
		for p, e := range want {
			if !reflect.DeepEqual(got[p], e) {
				t.Errorf("%q is\n%+v, want\n%+v", p, got[p], e)
			}
			delete(got, p)
		}
		if len(got) > 0 {
			t.Errorf("there is more: %v", got)
		}
	}
}

// Removing, emptying, and other kinds of files in place of what there was.
func TestApplyOver(t *testing.T) {
	root := openRoot(t)
	if err := Apply(t.Context(), root, sample(t)); err != nil {
		t.Fatal(err)
	}
	l, err := layer.New([]layer.File{
		{Entry: layer.Entry{Type: layer.Directory, Mode: 0o755}},
		{Entry: layer.Entry{Path: "d", Type: layer.Directory, Mode: 0o755, Opaque: true}},
		{Entry: layer.Entry{Path: "d/new", Type: layer.Fifo, Mode: 0o600}},
		{Entry: layer.Entry{Path: "empty", Type: layer.Whiteout}},
		{Entry: layer.Entry{Path: "link", Type: layer.Directory, Mode: 0o700}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Apply(t.Context(), root, l); err != nil {
		t.Fatal(err)
	}
	got, _ := described(t, root)
	var names []string
	for p, e := range got {
		if e.Type != layer.Directory && e.Type != layer.Fifo {
			t.Errorf("%q is of type %d", p, e.Type)
		}
		names = append(names, p)
	}
	if len(names) != 4 || got["d/new"].Type != layer.Fifo || got["link"].Type != layer.Directory {
		t.Errorf("there is %q", names)
	}
}

func TestParseOverride(t *testing.T) {
	for in, want := range map[string]string{
		"1:2:0755": "1:2:0755", "0:0:04711": "0:0:04711", "70000:70001:0": "70000:70001:00", "1:2:0644:file": "1:2:0644",
		"": "", "1:2": "", "a:2:0755": "", "1:-2:0755": "", "1:2:9": "", "4294967296:0:0": "",
	} {
		got := ""
		if uid, gid, mode, ok := parseOverride(in); ok {
			got = formatOverride(&layer.Entry{UID: uid, GID: gid, Mode: mode})
		}
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
