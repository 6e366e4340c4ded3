package sbom

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// tool finds a command. Without it the test is skipped, or fails if SLIPWAY_REQUIRE_TOOLS is set.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("SLIPWAY_REQUIRE_TOOLS") != "" {
		t.Fatalf("%s is missing, and SLIPWAY_REQUIRE_TOOLS is set", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// output runs a command and returns the lines that it prints.
func output(t testing.TB, name string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

func newState(t testing.TB) *state.Dir {
	t.Helper()
	d, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// recorder notes which files of the layers it made were opened.
type recorder struct {
	mu     sync.Mutex
	opened []string
}

// file is a regular file; its content notes when it is opened.
func (r *recorder) file(path string, mode uint16, data string) layer.File {
	return layer.File{
		Entry:   layer.Entry{Path: path, Type: layer.Regular, Mode: mode, Size: int64(len(data))},
		Content: &noted{r: r, path: path, Content: layer.Bytes([]byte(data))},
	}
}

type noted struct {
	layer.Content
	r    *recorder
	path string
}

func (c *noted) Open(ctx context.Context) (io.ReadCloser, error) {
	c.r.mu.Lock()
	c.r.opened = append(c.r.opened, c.path)
	c.r.mu.Unlock()
	return c.Content.Open(ctx)
}

func link(path, target string) layer.File {
	return layer.File{Entry: layer.Entry{Path: path, Type: layer.Symlink, Mode: 0o777, Link: target}}
}

func newLayer(t testing.TB, files ...layer.File) layer.Layer {
	t.Helper()
	l, err := layer.New(files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// dirTree is the tree whose one layer is what tar(1) makes of a directory.
func dirTree(t testing.TB, dir string, s *state.Dir) *tree.Tree {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", "-C", dir, "-c", ".")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l, err := layer.FromTar(t.Context(), out, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return tree.New(l)
}

// scanned is the inventory of a tree in which nothing is broken.
func scanned(t testing.TB, tr *tree.Tree, s *state.Dir) *Inventory {
	t.Helper()
	inv, err := Scan(t.Context(), tr, Options{State: s, Warn: func(w string) { t.Errorf("warning: %s", w) }})
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

// listed are the packages of one type, each as its name and its version.
func listed(inv *Inventory, kind string) []string {
	var out []string
	for _, p := range inv.Packages() {
		if p.Type == kind {
			out = append(out, strings.TrimSpace(p.Name+" "+p.Version))
		}
	}
	return out
}

// write makes a file and the directories above it.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// onHost is the content of a file of this machine.
type onHost string

func (h onHost) Open(context.Context) (io.ReadCloser, error) { return os.Open(string(h)) }

// streamed is the same, to be read from the beginning only.
type streamed string

func (h streamed) Open(ctx context.Context) (io.ReadCloser, error) {
	f, err := onHost(h).Open(ctx)
	return struct{ io.ReadCloser }{f}, err
}

// debs unpacks packages of Debian's into a directory.
func debs(t *testing.T, names ...string) string {
	t.Helper()
	apt, dpkg := tool(t, "apt-get"), tool(t, "dpkg-deb")
	downloads, dir := t.TempDir(), t.TempDir()
	download := exec.CommandContext(t.Context(), apt, append([]string{"download", "-q", "-o", "APT::Sandbox::User=root"}, names...)...)
	download.Dir = downloads
	if out, err := download.CombinedOutput(); err != nil {
		if os.Getenv("SLIPWAY_REQUIRE_TOOLS") != "" {
			t.Fatalf("apt-get download: %v\n%s", err, out)
		}
		t.Skipf("apt-get cannot download %s:\n%s", names, out)
	}
	files, err := filepath.Glob(filepath.Join(downloads, "*.deb"))
	if err != nil || len(files) != len(names) {
		t.Fatalf("apt-get downloaded %q, %v", files, err)
	}
	for _, f := range files {
		output(t, dpkg, "-x", f, dir)
	}
	return dir
}
