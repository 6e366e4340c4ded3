// Package isolationtest checks that a backend keeps the contract of isolation.Backend, and makes
// root filesystems for tests of anything that runs processes.
//
// The root filesystems are made of the busybox of the machine that the test runs on, which must be
// a static one (Debian's package busybox-static).
package isolationtest

import (
	"debug/elf"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Epoch is the modification time of all files that this package makes:
// 2001-09-09T01:46:40Z, which busybox's touch -d calls @1000000000.
func Epoch() time.Time { return time.Unix(1_000_000_000, 0).UTC() }

const busybox = "/bin/busybox"

// The users of [Rootfs] beside root.
const passwd = `root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
`

const group = `root:x:0:
wheel:x:10:app
app:x:1000:
docs:x:2000:app
nobody:x:65534:
`

// Rootfs returns a small root filesystem of one layer: busybox with all of its commands in
// /bin, users root, app (1000, also in groups 10 and 2000) and nobody, and the usual
// directories. The test is skipped if there is no static busybox.
func Rootfs(tb testing.TB) *tree.Tree {
	tb.Helper()
	return tree.New(Layer(tb, rootfsFiles(tb)...))
}

func rootfsFiles(tb testing.TB) []layer.File {
	tb.Helper()
	requireStatic(tb, busybox)
	program, err := os.ReadFile(busybox)
	if err != nil {
		tb.Fatal(err)
	}
	files := []layer.File{
		Dir("", 0o755), Dir("bin", 0o755), Dir("dev", 0o755), Dir("etc", 0o755), Dir("home", 0o755), Dir("home/app", 0o755),
		Dir("proc", 0o555), Dir("root", 0o700), Dir("sys", 0o555), Dir("tmp", 0o1777),
		File("bin/busybox", 0o755, string(program)),
		File("etc/passwd", 0o644, passwd), File("etc/group", 0o644, group),
	}
	for _, name := range applets(tb) {
		files = append(files, Symlink("bin/"+name, "busybox"))
	}
	return files
}

// requireStatic skips the test unless the program exists and needs no libraries.
func requireStatic(tb testing.TB, path string) {
	tb.Helper()
	f, err := elf.Open(path)
	if err != nil {
		tb.Skipf("needs a static busybox (package busybox-static): %v", err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			tb.Skipf("needs a static busybox (package busybox-static): %s is dynamically linked", path)
		}
	}
}

func applets(tb testing.TB) []string {
	tb.Helper()
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		tb.Fatalf("listing the commands of %s: %v", busybox, err)
	}
	var names []string
	for _, name := range strings.Fields(string(out)) {
		if name != "busybox" {
			names = append(names, name)
		}
	}
	return names
}

// Layer makes a layer of files in memory.
func Layer(tb testing.TB, files ...layer.File) layer.Layer {
	tb.Helper()
	l, err := layer.New(files)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// Dir is a directory owned by root.
func Dir(path string, mode uint16) layer.File {
	return layer.File{Entry: layer.Entry{Path: path, Type: layer.Directory, Mode: mode, ModTime: Epoch()}}
}

// File is a regular file owned by root.
func File(path string, mode uint16, content string) layer.File {
	f := layer.File{Entry: layer.Entry{Path: path, Type: layer.Regular, Mode: mode, ModTime: Epoch(), Size: int64(len(content))}}
	if content != "" {
		f.Content = layer.Bytes([]byte(content))
	}
	return f
}

// Symlink is a symbolic link.
func Symlink(path, target string) layer.File {
	return layer.File{Entry: layer.Entry{Path: path, Type: layer.Symlink, Mode: 0o777, ModTime: Epoch(), Link: target}}
}

// Hardlink is a further name of the file at target.
func Hardlink(path, target string) layer.File {
	return layer.File{Entry: layer.Entry{Path: path, Type: layer.Hardlink, ModTime: Epoch(), Link: target}}
}

// Whiteout removes what lower layers have at path.
func Whiteout(path string) layer.File {
	return layer.File{Entry: layer.Entry{Path: path, Type: layer.Whiteout}}
}

// Owned returns f with another owner.
func Owned(f layer.File, uid, gid uint32) layer.File {
	f.UID, f.GID = uid, gid
	return f
}
