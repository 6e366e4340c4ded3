package xattr_test

import (
	"errors"
	"maps"
	"os"
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

func TestRead(t *testing.T) {
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := func(name string) bool { return strings.HasPrefix(name, "user.") }
	if got, err := xattr.Read(path, all); err != nil || got != nil {
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
	if got, err := xattr.Read(path, all); err != nil || !maps.Equal(got, want) {
		t.Errorf("it gives %q, %v", got, err)
	}
	only := func(name string) bool { return name == "user.empty" }
	if got, err := xattr.Read(path, only); err != nil || !maps.Equal(got, map[string]string{"user.empty": ""}) {
		t.Errorf("of one it gives %q, %v", got, err)
	}
	// What a link leads to is another file.
	if err := os.Symlink("f", path+"link"); err != nil {
		t.Fatal(err)
	}
	if got, err := xattr.Read(path+"link", all); err != nil || got != nil {
		t.Errorf("of a link it gives %v, %v", got, err)
	}
	if _, err := xattr.Read(path+"missing", all); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error is %v", err)
	}
}
