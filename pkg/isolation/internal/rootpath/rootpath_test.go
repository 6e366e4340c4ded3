package rootpath_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
)

// makeRoot makes a root directory and opens it: names that end with a slash are directories,
// "a -> b" is a link, anything else an empty file. It lies in a directory in which an escape would
// show.
func makeRoot(t *testing.T, names ...string) (string, int) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	var errs []error
	for _, name := range append([]string{"/"}, names...) {
		path := filepath.Join(dir, name)
		link, target, isLink := strings.Cut(name, " -> ")
		switch {
		case isLink:
			errs = append(errs, os.Symlink(target, filepath.Join(dir, link)))
		case strings.HasSuffix(name, "/"):
			errs = append(errs, os.Mkdir(path, 0o755))
		default:
			errs = append(errs, os.WriteFile(path, nil, 0o644))
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return dir, fd
}

// where tells what fd refers to, seen from the root at dir.
func where(t *testing.T, dir string, fd int) string {
	t.Helper()
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(path, dir)
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  []string
		target string
		dir    bool
		want   string
		err    error
	}{
		{"there", []string{"a/", "a/b/"}, "/a/b", true, "/a/b", nil},
		{"a file that is there", []string{"a/", "a/b"}, "/a/b", false, "/a/b", nil},
		{"missing", nil, "/a/b", true, "/a/b", nil},
		{"a missing file", []string{"a/"}, "/a/b/c", false, "/a/b/c", nil},
		{"above the root", nil, "/../../a", true, "/a", nil},
		{"a link upwards", []string{"up -> ../../.."}, "/up/a", true, "/a", nil},
		{"an absolute link", []string{"a/", "a/l -> /b", "b/"}, "/a/l/c", true, "/b/c", nil},
		{"a dangling link", []string{"a/", "a/l -> b/c"}, "/a/l", true, "/a/b/c", nil},
		{"a dangling link to a file", []string{"l -> /etc/f"}, "/l", false, "/etc/f", nil},
		{"dots and slashes", []string{"a/"}, "//a/./x/../b/", true, "/a/b", nil},
		{"a loop", []string{"a -> b", "b -> a"}, "/a", true, "", unix.ELOOP},
		{"a file where a directory is wanted", []string{"a"}, "/a", true, "", unix.ENOTDIR},
		{"a directory where a file is wanted", []string{"a/"}, "/a", false, "", unix.EISDIR},
		{"below a file", []string{"a"}, "/a/b", true, "", unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, root := makeRoot(t, c.files...)
			before := trace(t, dir)
			stubs := rootpath.Stubs{Root: root}
			fd, err := stubs.Place(c.target, c.dir)
			if !errors.Is(err, c.err) {
				t.Fatalf("error is %v, want %v", err, c.err)
			}
			if err == nil {
				if got := where(t, dir, fd); got != c.want {
					t.Errorf("it is at %s, want %s", got, c.want)
				}
				unix.Close(fd)
			}
			if err := stubs.Remove(); err != nil {
				t.Error(err)
			}
			if after := trace(t, dir); !slices.Equal(after, before) {
				t.Errorf("it left a trace: %q, was %q", after, before)
			}
		})
	}
}

// trace lists what is around and in the root at dir, with the times of directories.
func trace(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprint(path, info.Mode(), info.ModTime().UnixNano()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestRemoveKeepsWhatIsNotOurs(t *testing.T) {
	for _, c := range []struct {
		name   string
		target string
		dir    bool
		change func(path string) error
		kept   bool
	}{
		{"untouched", "/a/b", true, func(string) error { return nil }, false},
		{"already gone", "/a/b", true, os.Remove, false},
		{"something in the directory", "/a/b", true, func(p string) error { return os.Mkdir(p+"/c", 0o755) }, true},
		{"something in the file", "/a/b", false, func(p string) error { return os.WriteFile(p, []byte("x"), 0o644) }, true},
		{"another in its place", "/a/b", false, func(p string) error {
			// Made before the other one goes, or it could get its inode number.
			return errors.Join(os.WriteFile(p+".new", nil, 0o644), os.Rename(p+".new", p))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, root := makeRoot(t)
			stubs := rootpath.Stubs{Root: root}
			fd, err := stubs.Place(c.target, c.dir)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			if stubs.Last() != "b" || stubs.None() {
				t.Errorf("the last stub is %q, want b", stubs.Last())
			}
			if err := c.change(dir + c.target); err != nil {
				t.Fatal(err)
			}
			if err := stubs.Remove(); err != nil {
				t.Error(err)
			}
			if !stubs.None() || stubs.Last() != "" {
				t.Error("there are stubs left to remove")
			}
			for _, path := range []string{dir + c.target, filepath.Dir(dir + c.target)} {
				if _, err := os.Lstat(path); (err == nil) != c.kept {
					t.Errorf("%s: %v, want it kept: %v", path, err, c.kept)
				}
			}
		})
	}
}

func TestOpenStaysInside(t *testing.T) {
	dir, root := makeRoot(t, "a/", "out -> ../../..", "magic -> /proc/self/root")
	for path, want := range map[string]string{"/": "", "": "", "/a": "/a", "out/a": "/a", "../../a": "/a"} {
		fd, err := rootpath.Open(root, path, unix.O_PATH)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if got := where(t, dir, fd); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
		unix.Close(fd)
	}
	if fd, err := rootpath.Open(root, "magic", unix.O_PATH); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a link to the host's /proc gives %d, %v", fd, err)
	}
	// With a /proc in the root, its links would lead out.
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc)
	if fd, err := rootpath.Open(proc, "self/root", unix.O_PATH); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a magic link gives %d, %v", fd, err)
	}
}

func TestKeepTimes(t *testing.T) {
	dir, root := makeRoot(t)
	then := time.Unix(1_100_000_000, 5)
	if err := os.Chtimes(dir, then, then); err != nil {
		t.Fatal(err)
	}
	err := rootpath.KeepTimes(root, func() error { return rootpath.MakeFile(root, "f", []byte("content"), 0o600) })
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(dir + "/f"); err != nil || string(data) != "content" {
		t.Errorf("the file holds %q (%v)", data, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(then) {
		t.Errorf("the time is %v, want %v", info.ModTime(), then)
	}
	failed := errors.New("no")
	if err := rootpath.KeepTimes(root, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error is %v", err)
	}
}
