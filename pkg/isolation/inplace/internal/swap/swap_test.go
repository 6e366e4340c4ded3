package swap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fixture is a root with a store and a tree in it. Names that end in "/" are directories, values that
// begin with "->" links.
func fixture(t *testing.T, pod, image map[string]string) (root, store string) {
	t.Helper()
	root = t.TempDir()
	store = filepath.Join(root, ".store")
	build(t, root, pod)
	build(t, filepath.Join(store, "tree"), image)
	return root, store
}

func build(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for name, value := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch target, link := strings.CutPrefix(value, "->"); {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o755))
			dirs = append(dirs, path)
		case link:
			err = errors.Join(err, os.Symlink(target, path))
		default:
			err = errors.Join(err, os.WriteFile(path, []byte(value), 0o640))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Attributes that are not those of new directories.
	for i, path := range dirs {
		if err := os.Chmod(path, 0o710); err != nil {
			t.Fatal(err)
		}
		ts := []unix.Timespec{{Sec: 1}, {Sec: 1_000_000_000 + int64(len(path)), Nsec: int64(i)}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// list describes everything in root but the store.
func list(t *testing.T, root string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := Below(root, path)
		if rel == ".store" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			if text, err = os.Readlink(path); err != nil {
				return err
			}
		}
		lines = append(lines, fmt.Sprintf("%s %v %d %q", rel, info.Mode(), info.ModTime().UnixNano(), text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func podFiles() map[string]string {
	return map[string]string{
		"etc/": "", "etc/hosts": "pod hosts", "etc/passwd": "pod", "etc/ssl/": "", "etc/ssl/cert": "pod cert",
		"usr/": "", "usr/local/bin/": "", "usr/local/bin/slipway": "program", "usr/lib": "->local/lib",
		"var/run/secrets/": "", "var/run/secrets/token": "token", "var/log": "pod log", "proc/": "", "proc/1": "process",
		"workspace/": "", "workspace/src": "source", "tmp/": "",
	}
}

func imageFiles() map[string]string {
	return map[string]string{
		"bin/": "", "bin/sh": "shell", "etc/": "", "etc/hosts": "image hosts", "etc/passwd": "image", "etc/group": "image",
		"var/": "", "var/run": "->/run", "run/": "", "workspace/": "", "workspace/own": "own", "proc/": "", "usr": "->bin",
	}
}

var pins = []string{".store", "etc/hosts", "proc", "var/run/secrets", "workspace"}

func TestEnterAndUndo(t *testing.T) {
	root, store := fixture(t, podFiles(), imageFiles())
	before, tree := list(t, root), list(t, filepath.Join(store, "tree"))
	s := New(root, store)
	conflicts, err := s.Enter("tree", pins)
	if err != nil {
		t.Fatal(err)
	}
	want := []Conflict{{"/etc/hosts", "/etc/hosts"}, {"/var/run", "/var/run/secrets"}, {"/workspace", "/workspace"}}
	if !slices.Equal(conflicts, want) {
		t.Errorf("conflicts are %v, want %v", conflicts, want)
	}
	for path, content := range map[string]string{
		"etc/hosts": "pod hosts", "etc/passwd": "image", "etc/group": "image", "usr/sh": "shell", "proc/1": "process",
		"workspace/src": "source", "var/run/secrets/token": "token",
	} {
		if got, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(got) != content {
			t.Errorf("%s is %q (%v), want %q", path, got, err, content)
		}
	}
	for _, path := range []string{"etc/ssl", "usr/local", "var/log", "tmp", "workspace/own"} {
		if _, err := os.Lstat(filepath.Join(root, path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there (%v)", path, err)
		}
	}
	undone, err := s.Undo()
	if err != nil || undone.Tree != "tree" || len(undone.Lost) > 0 {
		t.Errorf("Undo gave %v, %v", undone, err)
	}
	same(t, "root", list(t, root), before)
	same(t, "tree", list(t, filepath.Join(store, "tree")), tree)
	if _, err := os.Lstat(filepath.Join(store, "hold")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the hold is still there (%v)", err)
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: unexpected %s", what, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: missing %s", what, line)
		}
	}
}

// What a process does to the root arrives in the tree.
func TestChangesArrive(t *testing.T) {
	root, store := fixture(t, podFiles(), imageFiles())
	before := list(t, root)
	s := New(root, store)
	if _, err := s.Enter("tree", pins); err != nil {
		t.Fatal(err)
	}
	in := func(p string) string { return filepath.Join(root, p) }
	err := errors.Join(
		os.WriteFile(in("etc/new"), []byte("new"), 0o600), os.Remove(in("etc/group")), os.RemoveAll(in("bin")),
		os.Mkdir(in("opt"), 0o700), os.Chmod(in("etc"), 0o700), os.Remove(in("usr")), os.WriteFile(in("usr"), nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := s.Undo(); err != nil || len(u.Lost) > 0 {
		t.Fatalf("Undo gave %v, %v", u, err)
	}
	same(t, "root", list(t, root), before)
	tree := filepath.Join(store, "tree")
	for path, there := range map[string]bool{"etc/new": true, "etc/group": false, "bin": false, "opt": true, "etc/hosts": true, "workspace/own": true} {
		if _, err := os.Lstat(filepath.Join(tree, path)); (err == nil) != there {
			t.Errorf("%s: %v", path, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(tree, "etc")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode of etc is %v (%v)", info.Mode(), err)
	}
}

func TestLostChanges(t *testing.T) {
	root, store := fixture(t, podFiles(), imageFiles())
	before := list(t, root)
	s := New(root, store)
	if _, err := s.Enter("tree", pins); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "var/run/pid"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := s.Undo()
	if err != nil || !slices.Equal(u.Lost, []string{"/var/run"}) {
		t.Errorf("Undo gave %v, %v", u, err)
	}
	same(t, "root", list(t, root), before)
}

func TestOverwriteAndLitter(t *testing.T) {
	root, store := fixture(t, podFiles(), imageFiles())
	before := list(t, root)
	s := New(root, store)
	if _, err := s.Enter("tree", pins); err != nil {
		t.Fatal(err)
	}
	hosts, litter := filepath.Join(root, "etc/hosts"), filepath.Join(root, "proc/litter")
	if err := errors.Join(s.Overwrite(hosts, []byte("changed")), s.Litter(litter), os.Mkdir(litter, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(root, store).Undo(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{hosts, litter} {
		data, err := os.ReadFile(path)
		if path == hosts && string(data) != "pod hosts" || path == litter && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is %q (%v)", path, data, err)
		}
	}
	got := list(t, root)
	untimed := func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "etc/hosts ") || strings.HasPrefix(l, "proc ") })
	}
	same(t, "root", untimed(got), untimed(before))
}

var errKilled = errors.New("killed")

// TestEveryInterruption kills the process before each of its steps in turn, and the one that
// repairs the root before each of its own, until a last one succeeds. Directories of the pod's
// image cannot be renamed, as on an overlay root.
func TestEveryInterruption(t *testing.T) {
	lowerDir := func(root, what string) bool {
		for _, p := range []string{"etc/ssl", "usr", "usr/local", "usr/local/bin", "tmp"} {
			if what == "rename "+filepath.Join(root, p) {
				return true
			}
		}
		return false
	}
	steps := 0
	for n := 0; ; n++ {
		root, store := fixture(t, podFiles(), imageFiles())
		before := list(t, root)
		s := New(root, store)
		count := 0
		s.step = func(what string) error {
			if count++; count > n {
				return errKilled
			}
			// The tree's own directories can be renamed.
			if s.now != nil && s.now.Phase == hiding && lowerDir(root, what) {
				return unix.EXDEV
			}
			return nil
		}
		_, err := s.Enter("tree", pins)
		if err == nil {
			_, err = s.Undo()
		}
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("step %d: %v", n, err)
		}
		if err == nil {
			steps = n
			same(t, "root", list(t, root), before)
			break
		}
		// A number of repairs die, each a few steps later than the one before.
		for m := 0; ; m += 3 {
			r := New(root, store)
			done := 0
			r.step = func(string) error {
				if done++; done > m {
					return errKilled
				}
				return nil
			}
			_, err := r.Undo()
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("step %d, repair %d: %v", n, m, err)
			}
		}
		same(t, fmt.Sprintf("root, killed before step %d", n+1), list(t, root), before)
		if t.Failed() {
			return
		}
	}
	if steps < 40 {
		t.Errorf("only %d steps were interrupted", steps)
	}
}

func TestMountPoints(t *testing.T) {
	text := `21 1 0:20 / / rw - overlay overlay rw
22 21 0:21 / /proc rw - proc proc rw
23 22 0:22 /x /etc/resolv.conf rw - ext4 /dev/sda rw
24 21 0:23 / /a\040b\011c\012d\134e rw - tmpfs tmpfs rw
25 21 0:24 / /proc rw - tmpfs tmpfs rw
`
	got, err := MountPoints(text, "/")
	want := []string{"a b\tc\nd\\e", "etc/resolv.conf", "proc"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("mount points are %q (%v), want %q", got, err, want)
	}
	if got, err = MountPoints(text, "/etc"); err != nil || !slices.Equal(got, []string{"resolv.conf"}) {
		t.Errorf("below /etc they are %q (%v)", got, err)
	}
	if _, err := MountPoints("not a line of it\n", "/"); err == nil {
		t.Error("no error for a line that is none")
	}
}

func FuzzMountPoints(f *testing.F) {
	f.Add("24 21 0:23 / /a\\040b rw - tmpfs tmpfs rw\n")
	f.Fuzz(func(t *testing.T, text string) {
		points, err := MountPoints(text, "/")
		if err == nil && slices.Contains(points, "") {
			t.Error("the root itself is listed")
		}
	})
}
