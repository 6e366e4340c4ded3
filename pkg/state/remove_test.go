package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRemoveTree(t *testing.T) {
	outside := t.TempDir()
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dirs := range map[string]int{"empty": 0, "one": 1, "many": 3 * spread} {
		t.Run(name, func(t *testing.T) {
			top := filepath.Join(t.TempDir(), "top")
			if err := os.MkdirAll(top, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range dirs {
				dir := filepath.Join(top, "a", fmt.Sprint(i), "b")
				err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "f"), nil, 0o444),
					os.Symlink(outside, filepath.Join(dir, "link")), os.Chmod(dir, 0o500))
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := RemoveTree(top); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(top); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
	if _, err := os.Lstat(kept); err != nil {
		t.Errorf("what a link led to is gone: %v", err)
	}
	if err := RemoveTree(filepath.Join(outside, "missing")); err != nil {
		t.Errorf("of what is not there: %v", err)
	}
}
