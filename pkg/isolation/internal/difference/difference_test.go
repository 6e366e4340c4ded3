package difference_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/difference"
	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

func TestSameMetadata(t *testing.T) {
	at := time.Unix(5, 7)
	regular := layer.Entry{Path: "a", Type: layer.Regular, Mode: 0o644, UID: 1, GID: 2, Size: 3, ModTime: at, Xattrs: map[string]string{"user.a": "1"}}
	link := layer.Entry{Path: "a", Type: layer.Symlink, Mode: 0o777, Link: "b", ModTime: at}
	for _, c := range []struct {
		name   string
		entry  layer.Entry
		change func(*layer.Entry)
		want   bool
	}{
		{"name", regular, func(e *layer.Entry) { e.Path = "b" }, true},
		{"type", regular, func(e *layer.Entry) { e.Type = layer.Fifo }, false},
		{"mode", regular, func(e *layer.Entry) { e.Mode = 0o640 }, false},
		{"user", regular, func(e *layer.Entry) { e.UID = 9 }, false},
		{"group", regular, func(e *layer.Entry) { e.GID = 9 }, false},
		{"size", regular, func(e *layer.Entry) { e.Size = 9 }, false},
		{"time", regular, func(e *layer.Entry) { e.ModTime = time.Unix(5, 8) }, false},
		{"time zone", regular, func(e *layer.Entry) { e.ModTime = at.In(time.FixedZone("", 3600)) }, true},
		{"value of an attribute", regular, func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "2"} }, false},
		{"attribute gone", regular, func(e *layer.Entry) { e.Xattrs = nil }, false},
		{"another attribute", regular, func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "1", "user.b": ""} }, false},
		{"label of the host", regular, func(e *layer.Entry) { e.Xattrs = map[string]string{"user.a": "1", "security.selinux": "x"} }, true},
		{"target of a link", link, func(e *layer.Entry) { e.Link = "c" }, false},
		{"mode of a link", link, func(e *layer.Entry) { e.Mode = 0o755 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := c.entry
			c.change(&changed)
			if difference.SameMetadata(&c.entry, &changed) != c.want || difference.SameMetadata(&changed, &c.entry) != c.want {
				t.Errorf("the same is %v, want %v", !c.want, c.want)
			}
		})
	}
	var never, epoch layer.Entry
	epoch.ModTime = time.Unix(0, 0)
	if !difference.SameMetadata(&never, &epoch) {
		t.Error("no time is another one than the beginning of Unix time")
	}
}

// file makes a candidate.
func file(path string, kind layer.Type, same bool, ino uint64, links uint32) difference.File {
	f := difference.File{Inode: difference.Inode{Ino: ino}, Links: links, Same: same}
	f.Path, f.Type = path, kind
	return f
}

func TestList(t *testing.T) {
	dir := func(path string, same bool) difference.File { return file(path, layer.Directory, same, 0, 1) }
	for _, c := range []struct {
		name  string
		files []difference.File
		want  string
	}{
		{"nothing", nil, ""},
		{"nothing different", []difference.File{dir("", true), dir("a", true), file("a/f", layer.Regular, true, 1, 1)}, ""},
		{"directories above", []difference.File{file("a/b/f", layer.Regular, false, 1, 1), dir("a/b", true), dir("a", true), dir("c", true), dir("", true)}, "a a/b a/b/f"},
		{"the root", []difference.File{dir("", false)}, "<root>"},
		{"tree order", []difference.File{file("a.b", layer.Regular, false, 1, 1), file("a/f", layer.Regular, false, 2, 1), dir("a", false)}, "a a/f a.b"},
		{"links", []difference.File{file("z", layer.Regular, true, 1, 2), file("b", layer.Regular, false, 1, 2)}, "b z->b"},
		{"a name elsewhere", []difference.File{file("b", layer.Regular, true, 1, 2), file("c", layer.Regular, false, 2, 2)}, "c"},
		{"links on two filesystems", []difference.File{file("b", layer.Regular, false, 1, 2), func() difference.File {
			f := file("c", layer.Regular, false, 1, 2)
			f.Inode.Dev = 1
			return f
		}()}, "b c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for f := range difference.List(c.files).All() {
				line := f.Path
				if line == "" {
					line = "<root>"
				}
				if f.Type == layer.Hardlink {
					line += "->" + f.Link
				}
				got = append(got, line)
			}
			if line := strings.Join(got, " "); line != c.want {
				t.Errorf("entries are %q, want %q", line, c.want)
			}
		})
	}
}

// describe makes a candidate of name in the open directory dir.
func describe(t *testing.T, dir *os.File, name string) difference.File {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(int(dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		t.Fatal(err)
	}
	f, err := difference.Describe(int(dir.Fd()), name, "at/"+name, &st, xattr.Portable)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDescribeAndCompare(t *testing.T) {
	// More than what is compared at once.
	long := strings.Repeat("x", 100_000)
	regular := layer.Entry{Type: layer.Regular, Mode: 0o644}
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, c := range []struct {
		name  string
		lower *layer.File // nil for none
		make  func(path string) error
		want  layer.Entry // its type, mode and link
		same  bool
	}{
		{"other mode", &layer.File{Entry: layer.Entry{Type: layer.Regular, Mode: 0o640}}, writes("x"), regular, false},
		{"same", content(long), writes(long), regular, true},
		{"different at the end", content(long), writes(long[1:] + "y"), regular, false},
		{"shorter", content(long), writes(long[1:]), regular, false},
		{"empty", content(""), writes(""), regular, true},
		{"new", nil, writes("x"), regular, false},
		{"link", &layer.File{Entry: layer.Entry{Type: layer.Symlink, Link: "target"}}, func(p string) error { return os.Symlink("target", p) }, layer.Entry{Type: layer.Symlink, Mode: 0o777, Link: "target"}, true},
		{"fifo", &layer.File{Entry: layer.Entry{Type: layer.Fifo, Mode: 0o644}}, func(p string) error { return errors.Join(unix.Mkfifo(p, 0o600), os.Chmod(p, 0o644)) }, layer.Entry{Type: layer.Fifo, Mode: 0o644}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			full := filepath.Join(path, c.name)
			if err := c.make(full); err != nil {
				t.Fatal(err)
			}
			epoch := unix.NsecToTimespec(isolationtest.Epoch().UnixNano())
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{epoch, epoch}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
			f := describe(t, dir, c.name)
			if f.Type != c.want.Type || f.Mode != c.want.Mode || f.Link != c.want.Link || f.Path != "at/"+c.name || f.Links != 1 {
				t.Errorf("it is %+v with %d links, want %+v", f.Entry, f.Links, c.want)
			}
			var lower *tree.Node
			if c.lower != nil {
				c.lower.Path, c.lower.ModTime = "f", isolationtest.Epoch()
				c.lower.UID, c.lower.GID = uint32(os.Getuid()), uint32(os.Getgid())
				lower = nodeOf(t, c.lower)
			}
			if err := f.Compare(t.Context(), int(dir.Fd()), c.name, lower); err != nil {
				t.Fatal(err)
			}
			if f.Same != c.same {
				t.Errorf("the same is %v, want %v", f.Same, c.same)
			}
		})
	}
	names, err := inode.Names(int(dir.Fd()))
	if err != nil || len(names) != 8 || !slices.Contains(names, "different at the end") {
		t.Errorf("the directory holds %q (%v)", names, err)
	}
}

func writes(text string) func(string) error {
	return func(path string) error {
		return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o644)) // whatever the umask
	}
}

// content is a file of a layer.
func content(text string) *layer.File {
	f := isolationtest.File("f", 0o644, text)
	return &f
}

// nodeOf gives a file of a layer as one of a tree.
func nodeOf(t *testing.T, f *layer.File) *tree.Node {
	t.Helper()
	view, err := tree.New(isolationtest.Layer(t, *f)).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, ok := view.Root().Child("f")
	if !ok {
		t.Fatal("the tree is empty")
	}
	return n
}
