package extract_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/extract"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

var mtime = time.Unix(1234567890, 123456789).UTC()

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("setting owners and making devices needs root")
	}
}

// lookup gives the directory p of a tree of the given files.
func lookup(t *testing.T, p string, files ...layer.File) *tree.Node {
	t.Helper()
	l, err := layer.New(files)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tree.New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.LookupNoFollow(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func entry(path string, kind layer.Type, mode uint16) layer.File {
	return layer.File{Entry: layer.Entry{Path: path, Type: kind, Mode: mode, UID: 7, GID: 8, ModTime: mtime}}
}

// describe says of a file what extraction is about.
func describe(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	s := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprintf(" %q", data)
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		s += " -> " + target
	case unix.S_IFCHR, unix.S_IFBLK:
		s += fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return s
}

func TestEveryType(t *testing.T) {
	requireRoot(t)
	link := entry("d/link", layer.Symlink, 0o777)
	link.Link = "/etc/passwd"
	file := entry("d/sub/file", layer.Regular, 0o4755)
	file.Size, file.Content = 4, layer.Bytes([]byte("text"))
	hard := entry("d/x", layer.Hardlink, 0)
	hard.Link = "d/sub/file"
	null := entry("d/null", layer.CharDevice, 0o666)
	null.Major, null.Minor = 1, 3
	loop := entry("d/loop", layer.BlockDevice, 0o660)
	loop.Major, loop.Minor = 7, 259
	n := lookup(t, "d", entry("d", layer.Directory, 0o1777), entry("d/sub", layer.Directory, 0o500),
		file, hard, link, null, loop, entry("d/fifo", layer.Fifo, 0o600))
	dir := t.TempDir()
	if err := extract.Dir(t.Context(), n, dir); err != nil {
		t.Fatal(err)
	}
	const times = " 7:8 1234567890.123456789"
	for name, want := range map[string]string{
		"":         "41777" + times,
		"sub":      "40500" + times,
		"sub/file": "104755" + times + ` "text"`,
		"x":        "104755" + times + ` "text"`,
		"link":     "120777" + times + " -> /etc/passwd",
		"null":     "20666" + times + " 1:3",
		"loop":     "60660" + times + " 7:259",
		"fifo":     "10600" + times,
	} {
		if got := describe(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
	a, errA := os.Stat(filepath.Join(dir, "sub/file"))
	b, errB := os.Stat(filepath.Join(dir, "x"))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(a, b) {
		t.Error("the hard link was lost")
	}
}

func TestAttributes(t *testing.T) {
	requireRoot(t)
	file := entry("f", layer.Regular, 0o755)
	// cap_net_raw=ep, in the format of linux/capability.h.
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	file.Xattrs = map[string]string{"security.capability": capability, "user.a": "b"}
	n := lookup(t, "", file)
	dir := t.TempDir()
	if err := extract.Dir(t.Context(), n, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range file.Xattrs {
		buf := make([]byte, 100)
		size, err := unix.Lgetxattr(filepath.Join(dir, "f"), name, buf)
		if err != nil || string(buf[:size]) != want {
			t.Errorf("%s = %q, %v: a change of owner or mode takes it away if it comes later", name, buf[:max(size, 0)], err)
		}
	}
}

func TestNothingIsReplaced(t *testing.T) {
	requireRoot(t)
	file := entry("f", layer.Regular, 0o644)
	outside := filepath.Join(t.TempDir(), "outside")
	dir := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	err := extract.Dir(t.Context(), lookup(t, "", file), dir)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "extracting f") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written through the link: %v", err)
	}
}

func TestNotADirectory(t *testing.T) {
	err := extract.Dir(t.Context(), lookup(t, "f", entry("f", layer.Regular, 0o644)), t.TempDir())
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := lookup(t, "", entry("f", layer.Regular, 0o644))
	cancel()
	if err := extract.Dir(ctx, n, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
