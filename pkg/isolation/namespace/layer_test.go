package namespace_test

import (
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/layer/layertest"
	"github.com/slipway-build/slipway/pkg/tree"
)

// TestLayersKeepTheContract checks that the layers that Run returns are layers as any other.
func TestLayersKeepTheContract(t *testing.T) {
	b := newBackend(t, newState(t))
	root := isolationtest.Rootfs(t).Push(isolationtest.Layer(t,
		isolationtest.Dir("data", 0o755), isolationtest.File("data/old", 0o644, "old"),
		isolationtest.Dir("data/dir", 0o755), isolationtest.File("data/dir/old", 0o644, "old"),
	))
	script := `
		cd /data; rm old; rm -r dir; mkdir dir; echo new >file; chown 1:2 file; chmod 4750 file; ln file link; ln -s file sym; mkfifo fifo; : >empty
		touch -hd @1100000000 file sym fifo empty dir .`
	at := time.Unix(1_100_000_000, 0).UTC()
	want := []layertest.Want{
		{Entry: layer.Entry{Path: "data", Type: layer.Directory, Mode: 0o755, ModTime: at}},
		{Entry: layer.Entry{Path: "data/dir", Type: layer.Directory, Mode: 0o755, Opaque: true, ModTime: at}},
		{Entry: layer.Entry{Path: "data/empty", Type: layer.Regular, Mode: 0o644, ModTime: at}},
		{Entry: layer.Entry{Path: "data/fifo", Type: layer.Fifo, Mode: 0o644, ModTime: at}},
		{Entry: layer.Entry{Path: "data/file", Type: layer.Regular, Mode: 0o4750, UID: 1, GID: 2, ModTime: at}, Content: "new\n"},
		{Entry: layer.Entry{Path: "data/link", Type: layer.Hardlink, Mode: 0o4750, UID: 1, GID: 2, ModTime: at, Link: "data/file"}},
		{Entry: layer.Entry{Path: "data/old", Type: layer.Whiteout}},
		{Entry: layer.Entry{Path: "data/sym", Type: layer.Symlink, Mode: 0o777, ModTime: at, Link: "file"}},
	}
	layertest.Run(t, func(t *testing.T) layer.Layer { return runFor(t, b, root, script) }, want)
}

// runFor runs a script over root and returns what it changed.
func runFor(t *testing.T, b isolation.Backend, root *tree.Tree, script string) layer.Layer {
	t.Helper()
	c, err := b.Run(t.Context(), &isolation.Process{
		Root: root, Args: []string{"/bin/sh", "-ec", script}, Env: []string{"PATH=/bin"}, Cwd: "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Root
}
