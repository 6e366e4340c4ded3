package layer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Both ways of opening files give the same.
func TestOpenBeneath(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "d"), 0o755),
		os.WriteFile(filepath.Join(top, "outside"), []byte("secret"), 0o644), os.WriteFile(filepath.Join(dir, "d/f"), []byte("content"), 0o644),
		os.Symlink("../outside", filepath.Join(dir, "out")), os.Symlink("..", filepath.Join(dir, "up")), os.Symlink("d", filepath.Join(dir, "in")),
		os.Symlink("d/f", filepath.Join(dir, "last")), os.Symlink(top, filepath.Join(dir, "absolute")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	b, err := newBeneath(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		ok   bool
	}{
		{"d/f", true}, {"in/f", true}, {"last", true}, {"out", false}, {"up/outside", false}, {"absolute/outside", false},
		{"../outside", false}, {"missing", false}, {"d/f/g", false},
	} {
		var stamps []Stamp
		for name, open := range map[string]func(string) (file, error){"openat2": b.open, "walk": b.walk} {
			f, err := open(c.path)
			if !c.ok {
				if err == nil {
					t.Errorf("%s: %s is opened", name, c.path)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			data, err := io.ReadAll(f)
			if err != nil || string(data) != "content" {
				t.Errorf("%s: %s has %q, %v", name, c.path, data, err)
			}
			s, regular, err := f.stamp()
			if err != nil || !regular {
				t.Errorf("%s: %s is regular: %v, %v", name, c.path, regular, err)
			}
			stamps = append(stamps, s)
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s: closed twice: %v", name, err)
			}
		}
		if c.ok && (len(stamps) != 2 || stamps[0] != stamps[1]) {
			t.Errorf("stamps of %s are %v", c.path, stamps)
		}
	}
}

// Reading before its turn notices what reading in its turn does.
func TestReadAheadNoticesChanges(t *testing.T) {
	for name, change := range map[string]string{"longer": "0123456789 and more", "shorter": "0", "same size": "abcdefghij"} {
		t.Run(name, func(t *testing.T) {
			l, file := dirLayer(t, "0123456789")
			if err := os.WriteFile(file, []byte(change), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := writeTar(t.Context(), io.Discard, l)
			var changed *ChangedError
			if !errors.As(err, &changed) {
				t.Errorf("error is %v, want a ChangedError", err)
			}
		})
	}
}
