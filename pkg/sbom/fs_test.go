package sbom

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// fsOf is the filesystem of a tree.
func fsOf(t *testing.T, tr *tree.Tree) *treeFS {
	t.Helper()
	v, err := tr.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &treeFS{ctx: t.Context(), view: v, state: newState(t), limit: maxSideFile}
}

// The filesystem keeps the contract of io/fs, with small contents and with such as are spooled into a
// file.
func TestFSIsAnFS(t *testing.T) {
	var r recorder
	f := fsOf(t, tree.New(newLayer(t,
		layer.File{Entry: layer.Entry{Path: "empty", Type: layer.Directory, Mode: 0o1777}},
		r.file("etc/os-release", 0o644, "ID=test\n"),
		r.file("usr/bin/tool", 0o4755, strings.Repeat("x", inMemory+1)),
		link("etc/link", "os-release"),
	)))
	if err := fstest.TestFS(f, "etc/os-release", "usr/bin/tool", "empty", "etc/link"); err != nil {
		t.Error(err)
	}
}

// Symbolic links are followed as by a process that has the tree as its root.
func TestFSKeepsLinksInside(t *testing.T) {
	var r recorder
	f := fsOf(t, tree.New(newLayer(t,
		r.file("usr/lib/os-release", 0o644, "ID=inside\n"),
		link("etc/os-release", "../../../../../usr/lib/os-release"),
		link("absolute", "/usr/lib"),
		link("out", "/../../etc/passwd"),
		link("loop", "loop"),
	)))
	for _, name := range []string{"etc/os-release", "absolute/os-release"} {
		data, err := fs.ReadFile(f, name)
		if err != nil || string(data) != "ID=inside\n" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for name, want := range map[string]error{"out": fs.ErrNotExist, "loop": nil, "../etc": fs.ErrInvalid, "/etc": fs.ErrInvalid} {
		_, err := f.Open(name)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is looked at beside is small, or is not looked at.
func TestFSBoundsWhatItOpens(t *testing.T) {
	var r recorder
	f := fsOf(t, tree.New(newLayer(t, r.file("etc/os-release", 0o644, strings.Repeat("A=b\n", maxSideFile/4+1)))))
	if _, err := f.Open("etc/os-release"); !errors.Is(err, tree.ErrTooLong) {
		t.Errorf("error %v, want tree.ErrTooLong", err)
	}
	if len(r.opened) > 0 {
		t.Errorf("opened: %q", r.opened)
	}
}

func TestFileMode(t *testing.T) {
	for _, test := range []struct {
		entry layer.Entry
		want  string
	}{
		{layer.Entry{Type: layer.Regular, Mode: 0o4755}, "urwxr-xr-x"},
		{layer.Entry{Type: layer.Regular, Mode: 0o2710}, "grwx--x---"},
		{layer.Entry{Type: layer.Directory, Mode: 0o1777}, "dtrwxrwxrwx"},
		{layer.Entry{Type: layer.Symlink, Mode: 0o777}, "Lrwxrwxrwx"},
		{layer.Entry{Type: layer.CharDevice, Mode: 0o666}, "Dcrw-rw-rw-"},
		{layer.Entry{Type: layer.BlockDevice, Mode: 0o660}, "Drw-rw----"},
		{layer.Entry{Type: layer.Fifo, Mode: 0o600}, "prw-------"},
	} {
		if got := fileMode(&test.entry).String(); got != test.want {
			t.Errorf("%+v: %s, want %s", test.entry, got, test.want)
		}
	}
}
