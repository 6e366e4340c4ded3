package xattr_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
)

func TestPortable(t *testing.T) {
	for name, want := range map[string]bool{
		"user.a": true, "security.capability": true, "trusted.a": true, "system.posix_acl_access": true, "user.overlay": true,
		"user.overlay.opaque": false, "trusted.overlay.redirect": false, "security.selinux": false, "security.evm": false,
	} {
		if got := xattr.Portable(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestRead reads by both ways to name a file.
func TestRead(t *testing.T) {
	t.Run("by path", func(t *testing.T) { testRead(t, xattr.Read) })
	t.Run("in a directory", func(t *testing.T) {
		testRead(t, func(path string, wanted func(string) bool) (map[string]string, error) {
			dir, err := os.Open(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			return xattr.ReadAt(int(dir.Fd()), filepath.Base(path), wanted)
		})
	})
	t.Run("the directory itself", func(t *testing.T) {
		path := t.TempDir()
		if err := unix.Setxattr(path, "user.a", []byte("v"), 0); errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("this filesystem has no attributes")
		} else if err != nil {
			t.Fatal(err)
		}
		dir, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		got, err := xattr.ReadAt(int(dir.Fd()), "", func(name string) bool { return name == "user.a" })
		if err != nil || !maps.Equal(got, map[string]string{"user.a": "v"}) {
			t.Errorf("it gives %q, %v", got, err)
		}
	})
}

func testRead(t *testing.T, read func(path string, wanted func(string) bool) (map[string]string, error)) {
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := func(name string) bool { return strings.HasPrefix(name, "user.") }
	if got, err := read(path, all); err != nil || got != nil {
		t.Errorf("without attributes it gives %v, %v", got, err)
	}
	want := map[string]string{"user.empty": "", "user.long": strings.Repeat("x\x00", 500), "user." + strings.Repeat("n", 240): "v"}
	for name, value := range want {
		err := unix.Setxattr(path, name, []byte(value), 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("this filesystem has no attributes")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := read(path, all); err != nil || !maps.Equal(got, want) {
		t.Errorf("it gives %q, %v", got, err)
	}
	only := func(name string) bool { return name == "user.empty" }
	if got, err := read(path, only); err != nil || !maps.Equal(got, map[string]string{"user.empty": ""}) {
		t.Errorf("of one it gives %q, %v", got, err)
	}
	// What a link leads to is another file.
	if err := os.Symlink("f", path+"link"); err != nil {
		t.Fatal(err)
	}
	if got, err := read(path+"link", all); err != nil || got != nil {
		t.Errorf("of a link it gives %v, %v", got, err)
	}
	if _, err := read(path+"missing", all); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error is %v", err)
	}
}
