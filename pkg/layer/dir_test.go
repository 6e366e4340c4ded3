package layer_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
)

// oneFile makes a layer of the file "a" in a new directory.
func oneFile(t *testing.T, content string) (l layer.Layer, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "a")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dirLayer(t, dir, "a", ""), path
}

func dirLayer(t *testing.T, dir, source, path string) layer.Layer {
	t.Helper()
	if path == "" {
		path = source
	}
	fi := try(os.Lstat(filepath.Join(dir, source)))(t)
	f := layer.DirFile{
		Entry: layer.Entry{Path: path, Type: layer.Regular, Size: fi.Size()},
		Stamp: try(layer.StampOf(fi))(t),
	}
	if path != source {
		f.Source = source
	}
	root := try(os.OpenRoot(dir))(t)
	t.Cleanup(func() { _ = root.Close() })
	return try(layer.FromDir(root, []layer.DirFile{f}))(t)
}

func TestDirSource(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "elsewhere"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := dirLayer(t, dir, "elsewhere", "usr/bin/a")
	if got := try(io.ReadAll(try(l.Open(t.Context(), "usr/bin/a"))(t)))(t); string(got) != "content" {
		t.Errorf("content is %q", got)
	}
	if _, err := l.Open(t.Context(), "elsewhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestDirChangedBeforeOpen(t *testing.T) {
	tests := map[string]func(path string) error{
		"longer":  func(p string) error { return appendTo(p, "more") },
		"shorter": func(p string) error { return os.Truncate(p, 3) },
		"touched": func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) },
		"replaced by an equal file": func(p string) error {
			fi, err := os.Stat(p)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(p+"2", []byte("content"), 0o644), os.Chtimes(p+"2", time.Time{}, fi.ModTime()), os.Rename(p+"2", p))
		},
		"replaced by a link to another": func(p string) error {
			return errors.Join(os.Remove(p), os.WriteFile(p+"2", []byte("content"), 0o644), os.Symlink("a2", p))
		},
		"replaced by a link out of the root": func(p string) error {
			return errors.Join(os.Remove(p), os.Symlink("/etc/hostname", p))
		},
		"replaced by a fifo":      func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o644)) },
		"replaced by a directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) },
		"removed":                 os.Remove,
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			l, path := oneFile(t, "content")
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			rc, err := l.Open(t.Context(), "a")
			if err == nil {
				got, err := io.ReadAll(rc)
				t.Fatalf("was read as %q, %v", got, err)
			}
			if !strings.Contains(err.Error(), `"a"`) {
				t.Errorf("error %q does not name the file", err)
			}
			var changed *layer.ChangedError
			if strings.HasPrefix(name, "replaced by a") && !strings.Contains(name, "link") && name != "replaced by a fifo" && !errors.As(err, &changed) {
				t.Errorf("error is %v, not a ChangedError", err)
			}
		})
	}
}

func TestDirChangedWhileRead(t *testing.T) {
	content := strings.Repeat("content", 100000)
	tests := map[string]func(path string) error{
		"longer":  func(p string) error { return appendTo(p, "more") },
		"shorter": func(p string) error { return os.Truncate(p, 1000) },
		"overwritten": func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("other"), 500000)
			return errors.Join(err, f.Close())
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			_, path := oneFile(t, content)
			// The clock of the filesystem has to tick between writing and changing.
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			l := dirLayer(t, filepath.Dir(path), "a", "")
			rc := try(l.Open(t.Context(), "a"))(t)
			defer rc.Close()
			if _, err := io.ReadFull(rc, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, rc); err == nil || !strings.Contains(err.Error(), `"a"`) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func appendTo(path, s string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

// TestDirParentBecomesLink has a directory on the way to a file replaced by a link out of
// the root.
func TestDirParentBecomesLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for _, d := range []string{dir + "/sub", outside} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.WriteFile(d+"/a", []byte("content"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	l := dirLayer(t, dir, "sub/a", "")
	if err := errors.Join(os.RemoveAll(dir+"/sub"), os.Symlink(outside, dir+"/sub")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Open(t.Context(), "sub/a"); err == nil {
		t.Error("a file outside of the root was opened")
	}
}

func TestFromDirRefuses(t *testing.T) {
	root := try(os.OpenRoot(t.TempDir()))(t)
	defer root.Close()
	for name, files := range map[string][]layer.DirFile{
		"size that is not the stamp's": {{Entry: layer.Entry{Path: "a", Type: layer.Regular, Size: 1}, Stamp: layer.Stamp{Size: 2}}},
		"path twice":                   {{Entry: layer.Entry{Path: "a", Type: layer.Directory}}, {Entry: layer.Entry{Path: "a", Type: layer.Directory}}},
		"path that climbs":             {{Entry: layer.Entry{Path: "../a", Type: layer.Directory}}},
	} {
		if _, err := layer.FromDir(root, files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestDirOverOverlay reads the upper directory of an overlay mount while it is mounted.
func TestDirOverOverlay(t *testing.T) {
	base := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged, upper := filepath.Join(base, "merged"), filepath.Join(base, "upper")
	options := "lowerdir=" + base + "/lower,upperdir=" + upper + ",workdir=" + base + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skipf("overlay mounts need root and a filesystem that can hold an upper directory: %v", err)
	}
	defer func() {
		if err := unix.Unmount(merged, 0); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(merged+"/a", []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := dirLayer(t, upper, "a", "")
	if got := try(io.ReadAll(try(l.Open(t.Context(), "a"))(t)))(t); string(got) != "content" {
		t.Errorf("content is %q", got)
	}
}
