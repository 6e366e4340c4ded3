package namespace_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// runShell runs a script over isolationtest.Rootfs and layers on top of it, and returns its output.
func runShell(tb testing.TB, b isolation.Backend, script string, layers ...layer.Layer) string {
	tb.Helper()
	root := isolationtest.Rootfs(tb)
	for _, l := range layers {
		root = root.Push(l)
	}
	var out bytes.Buffer
	p := &isolation.Process{
		Root: root, Args: []string{"/bin/sh", "-ec", script}, Env: []string{"PATH=/bin"}, Cwd: "/",
		Stdout: &out, Stderr: &out,
	}
	if _, err := b.Run(tb.Context(), p); err != nil {
		tb.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

// blob is a layer with a digest, as those of base images are, that counts how often a file
// of it is read.
type blob struct {
	layer.Layer
	id    v1.Hash
	opens atomic.Int32
	fail  atomic.Bool
}

func (b *blob) Blob() v1.Layer { return digest{id: b.id} }

func (b *blob) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	b.opens.Add(1)
	if b.fail.Load() {
		return nil, errors.New("the registry went away")
	}
	return b.Layer.Open(ctx, path)
}

type digest struct {
	v1.Layer
	id v1.Hash
}

func (d digest) DiffID() (v1.Hash, error) { return d.id, nil }

func newBlob(t *testing.T, hex string, files ...layer.File) *blob {
	return &blob{Layer: isolationtest.Layer(t, files...), id: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(hex, 64)}}
}

// again opens a state directory that another build used before.
func again(t *testing.T, path string) *namespace.Backend {
	t.Helper()
	st, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return newBackend(t, st)
}

func TestBlobsAreUnpackedOnce(t *testing.T) {
	path := newState(t).Path()
	l := newBlob(t, "a", isolationtest.Dir("data", 0o755), isolationtest.File("data/f", 0o644, "content"))
	for range 2 {
		b := again(t, path)
		for range 2 {
			if out := runShell(t, b, "cat /data/f; echo x >/data/f", l); out != "content" {
				t.Errorf("output is %q", out)
			}
		}
	}
	if n := l.opens.Load(); n != 1 {
		t.Errorf("the file was read %d times, want once in two builds", n)
	}
}

func TestLayersThatDependOnOthersAreUnpackedForThem(t *testing.T) {
	path := newState(t).Path()
	// The layer does not say what data is, and links to what is below it.
	l := newBlob(t, "b", isolationtest.Hardlink("data/link", "data/f"))
	for i, mode := range []string{"700", "711"} {
		base := newBlob(t, string("cd"[i]), isolationtest.Dir("data", uint16(0o700+0o11*i)), isolationtest.File("data/f", 0o644, mode))
		b := again(t, path)
		if out := runShell(t, b, "stat -c %a /data; cat /data/link", base, l); out != mode+"\n"+mode {
			t.Errorf("output is %q, want %s twice", out, mode)
		}
	}
}

func TestFailedUnpackingLeavesNothing(t *testing.T) {
	path := newState(t).Path()
	b := again(t, path)
	l := newBlob(t, "e", isolationtest.File("f", 0o644, "content"))
	l.fail.Store(true)
	p := &isolation.Process{Root: tree.New(l), Args: []string{"/bin/true"}, Cwd: "/"}
	if _, err := b.Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), "the registry went away") {
		t.Errorf("error is %v, want the layer's", err)
	}
	if names, err := os.ReadDir(filepath.Join(path, "unpacked")); err != nil || len(names) > 0 {
		t.Errorf("there are %v (%v)", names, err)
	}
	l.fail.Store(false)
	if out := runShell(t, b, "cat /f", l); out != "content" {
		t.Errorf("after the failure, output is %q", out)
	}
}

// TestSecretsReachNoDisk looks for a secret in all files of the state directory while the
// process that has it runs, and afterwards.
func TestSecretsReachNoDisk(t *testing.T) {
	st := newState(t)
	b := newBackend(t, st)
	const secret = "correct horse battery staple"
	dir := t.TempDir()
	p := &isolation.Process{
		Root: isolationtest.Rootfs(t), Args: []string{"sh", "-ec", "test -s /run/secrets/s; test \"$SECRET\"; echo >/cache/ready; while test ! -e /cache/go; do usleep 1000; done"},
		Env: []string{"PATH=/bin", "SECRET=" + secret}, Cwd: "/",
		Mounts: []isolation.Mount{
			{Type: isolation.MountCache, Target: "/cache", HostDir: dir},
			{Type: isolation.MountSecret, Target: "/run/secrets/s", Data: []byte(secret), Mode: 0o400},
		},
	}
	done := make(chan error, 1)
	var changes *isolation.Changes
	go func() {
		var err error
		changes, err = b.Run(t.Context(), p)
		done <- err
	}()
	for {
		if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the process ended early: %v", err)
		default:
		}
	}
	searchFiles(t, st.Path(), secret)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	searchFiles(t, st.Path(), secret)
	if lines := isolationtest.Dump(t, changes.Root); len(lines) > 0 {
		t.Errorf("the layer has %v", lines)
	}
}

func searchFiles(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("the secret is in %s", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNothingIsLeft checks that processes that failed leave nothing in the state directory.
func TestNothingIsLeft(t *testing.T) {
	st := newState(t)
	b := newBackend(t, st)
	root := isolationtest.Rootfs(t)
	count := func() (n int) {
		err := filepath.WalkDir(st.Path(), func(string, fs.DirEntry, error) error { n++; return nil })
		if err != nil {
			t.Error(err)
		}
		return n
	}
	fail := func() {
		p := &isolation.Process{Root: root, Args: []string{"/bin/sh", "-c", "mkdir -p /a/b/c; exit 1"}, Env: []string{"PATH=/bin"}, Cwd: "/"}
		if _, err := b.Run(t.Context(), p); err == nil {
			t.Error("no error")
		}
	}
	fail()
	before := count()
	fail()
	if after := count(); after != before {
		t.Errorf("there are %d files more", after-before)
	}
}

// TestDevicesWithoutMknod checks that images with device nodes work where none can be made, and
// that what a process does to them is recorded.
func TestDevicesWithoutMknod(t *testing.T) {
	if os.Getenv(inPodVariable) == "" {
		inPod(t, "TestDevicesWithoutMknod", strings.Replace(podCapabilities, "mknod,", "", 1), "")
		return
	}
	b := newBackend(t, newState(t))
	root := isolationtest.Rootfs(t).Push(isolationtest.Layer(t,
		isolationtest.Dir("data", 0o755),
		layer.File{Entry: layer.Entry{Path: "data/b", Type: layer.BlockDevice, Mode: 0o660, Major: 7, Minor: 300, ModTime: isolationtest.Epoch()}},
		layer.File{Entry: layer.Entry{Path: "data/c", Type: layer.CharDevice, Mode: 0o622, Major: 1, Minor: 3, ModTime: isolationtest.Epoch()}},
	))
	l := runFor(t, b, root, "test -e /data/b; chmod 622 /data/c; chmod 600 /data/b")
	got := isolationtest.Dump(t, l)
	want := []string{"dir 0755 0:0 data @1000000000", "block 0600 0:0 data/b 7,300 @1000000000"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("changes are\n%q, want\n%q", got, want)
	}
}
