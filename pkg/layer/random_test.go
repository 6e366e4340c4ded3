package layer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// dirLayer is a layer of one file in a directory, and that file's path.
func dirLayer(t *testing.T, content string) (Layer, string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := StampOf(fi)
	if err != nil {
		t.Fatal(err)
	}
	l, err := FromDir(root, []DirFile{{Entry: Entry{Path: "f", Type: Regular, Mode: 0o600, Size: fi.Size()}, Stamp: stamp}})
	if err != nil {
		t.Fatal(err)
	}
	return l, file
}

// Files of directories can be read from any place, also through a layer that only refers to them; a file that
// changes meanwhile is found out.
func TestRandomAccess(t *testing.T) {
	below, file := dirLayer(t, "0123456789")
	above, err := New([]File{{Entry: Entry{Path: "copy", Type: Regular, Mode: 0o600, Size: 10}, Content: From(below, "f")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (io.ReadCloser, error){
		"directory": func() (io.ReadCloser, error) { return below.Open(t.Context(), "f") },
		"reference": func() (io.ReadCloser, error) { return above.Open(t.Context(), "copy") },
	} {
		t.Run(name, func(t *testing.T) {
			rc, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			r, unchanged, ok := RandomAccess(rc)
			if !ok {
				t.Fatal("there is no random access")
			}
			var part [3]byte
			if _, err := r.ReadAt(part[:], 5); err != nil || string(part[:]) != "567" {
				t.Errorf("read %q, %v", part, err)
			}
			if err := unchanged(); err != nil {
				t.Error(err)
			}
		})
	}
	rc, err := above.Open(t.Context(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	_, unchanged, _ := RandomAccess(rc)
	if err := os.WriteFile(file, []byte("another content"), 0o600); err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if err := unchanged(); !errors.As(err, &changed) {
		t.Errorf("error %v, want a ChangedError", err)
	}
}

// What is no file of the host has none.
func TestNoRandomAccess(t *testing.T) {
	l, err := New([]File{{Entry: Entry{Path: "f", Type: Regular, Mode: 0o600, Size: 1}, Content: Bytes([]byte("x"))}})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := l.Open(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if _, _, ok := RandomAccess(rc); ok {
		t.Error("bytes in memory are taken for a file")
	}
}
