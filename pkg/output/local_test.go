package output_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/tree"
)

func TestLocal(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "new", "out")
	b := simple(t, []layer.Layer{layerOf(t,
		entry(layer.Entry{Path: "d", Type: layer.Directory, Mode: 0o1750, UID: 7, GID: 7}),
		entry(layer.Entry{Path: "d/closed", Type: layer.Directory, Mode: 0o555}),
		file("d/closed/f", "inside"),
		layer.File{Entry: layer.Entry{Path: "suid", Type: layer.Regular, Mode: 0o4755, UID: 1000, ModTime: now, Size: 1}, Content: layer.Bytes([]byte("s"))},
		entry(layer.Entry{Path: "hard", Type: layer.Hardlink, Link: "suid"}),
		entry(layer.Entry{Path: "link", Type: layer.Symlink, Link: "/etc/passwd", Mode: 0o777}),
		entry(layer.Entry{Path: "fifo", Type: layer.Fifo, Mode: 0o622}),
	)}, amd64)
	must[*output.Result](t)(write(t, output.NewLocal(dest, nil), b))

	want := map[string]string{"d": "/", "d/closed": "/", "d/closed/f": "inside", "suid": "s", "hard": "s", "link": "-> /etc/passwd", "fifo": "p---------"}
	if got := list(t, dest); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for p, mode := range map[string]os.FileMode{
		"d": os.ModeDir | os.ModeSticky | 0o750, "d/closed": os.ModeDir | 0o555, "suid": os.ModeSetuid | 0o755, "fifo": os.ModeNamedPipe | 0o622,
	} {
		info := must[os.FileInfo](t)(os.Lstat(filepath.Join(dest, p)))
		if info.Mode() != mode || !info.ModTime().Equal(now) {
			t.Errorf("%s is %s of %s, want %s of %s", p, info.Mode(), info.ModTime(), mode, now)
		}
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
			t.Errorf("%s belongs to %d:%d, not to us", p, st.Uid, st.Gid)
		}
	}
	if link := must[os.FileInfo](t)(os.Lstat(filepath.Join(dest, "link"))); !link.ModTime().Equal(now) {
		t.Errorf("the symbolic link is of %s", link.ModTime())
	}
	one := must[os.FileInfo](t)(os.Stat(filepath.Join(dest, "suid")))
	if !os.SameFile(one, must[os.FileInfo](t)(os.Stat(filepath.Join(dest, "hard")))) {
		t.Error("the hard link is a copy")
	}
}

func TestLocalIntoADirectoryThatIsThere(t *testing.T) {
	dest := t.TempDir()
	outside := t.TempDir()
	for p, content := range map[string]string{"mine": "mine", "bin/mine": "mine", "etc": "a file where the image has a directory"} {
		p = filepath.Join(dest, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dest, "var")); err != nil {
		t.Fatal(err)
	}
	b := simple(t, []layer.Layer{layerOf(t, file("bin/app", "program"), file("etc/conf", "setting"), file("var/x", "y"))}, amd64)
	must[*output.Result](t)(write(t, output.NewLocal(dest, nil), b))
	want := map[string]string{
		"mine": "mine", "bin": "/", "bin/mine": "mine", "bin/app": "program", "etc": "/", "etc/conf": "setting", "var": "/", "var/x": "y",
	}
	if got := list(t, dest); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if left := list(t, outside); len(left) != 0 {
		t.Errorf("the link in the destination led to %v", left)
	}
}

func TestLocalKeepsADirectoryThatIsInTheWay(t *testing.T) {
	dest := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dest, "x", "y"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := simple(t, []layer.Layer{layerOf(t, file("x", "file"))}, amd64)
	if _, err := write(t, output.NewLocal(dest, nil), b); err == nil || !strings.Contains(err.Error(), "remove it first") {
		t.Errorf("got %v", err)
	}
	if got := list(t, dest); len(got) != 2 {
		t.Errorf("left: %v", got)
	}
}

// Names in an image can be those of links that it made itself.
func TestLocalDoesNotFollowTheImagesLinks(t *testing.T) {
	outside := t.TempDir()
	dest := t.TempDir()
	b := simple(t, []layer.Layer{
		layerOf(t, entry(layer.Entry{Path: "a", Type: layer.Symlink, Link: outside, Mode: 0o777})),
		layerOf(t, file("a/x", "y")),
	}, amd64)
	if _, err := write(t, output.NewLocal(dest, nil), b); err != nil {
		t.Fatal(err)
	}
	if left := list(t, outside); len(left) != 0 {
		t.Errorf("written outside: %v", left)
	}
}

func TestLocalSeveralPlatforms(t *testing.T) {
	yes, no := true, false
	layers := []layer.Layer{layerOf(t, file("f", "x"))}
	win1 := v1.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.1"}
	win2 := v1.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.2"}
	for name, test := range map[string]struct {
		split *bool
		b     *image.Built
		want  map[string]string // nil for an error
	}{
		"several":           {nil, simple(t, layers, amd64, arm), map[string]string{"linux_amd64": "/", "linux_amd64/f": "x", "linux_arm_v7": "/", "linux_arm_v7/f": "x"}},
		"one, split":        {&yes, simple(t, layers, amd64), map[string]string{"linux_amd64": "/", "linux_amd64/f": "x"}},
		"versions":          {nil, simple(t, layers, win1, win2), map[string]string{"windows(10.0.1)_amd64": "/", "windows(10.0.1)_amd64/f": "x", "windows(10.0.2)_amd64": "/", "windows(10.0.2)_amd64/f": "x"}},
		"one":               {nil, simple(t, layers, amd64), map[string]string{"f": "x"}},
		"several, together": {&no, simple(t, layers, amd64, arm), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dest := t.TempDir()
			_, err := write(t, output.NewLocal(dest, test.split), test.b)
			if (err == nil) != (test.want != nil) {
				t.Fatal(err)
			}
			if got := list(t, dest); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestLocalWithEpoch(t *testing.T) {
	epoch := time.Unix(1e9, 0)
	dest := t.TempDir()
	b := build(t, image.Spec{
		Platforms: []image.Platform{{Platform: amd64, Tree: tree.New(layerOf(t, file("f", "x")))}},
		Options:   image.Options{Epoch: &epoch},
	})
	must[*output.Result](t)(write(t, output.NewLocal(dest, nil), b))
	if info := must[os.FileInfo](t)(os.Stat(filepath.Join(dest, "f"))); !info.ModTime().Equal(epoch) {
		t.Errorf("it is of %s", info.ModTime())
	}
}

// Without root, devices are refused and directories that one may not write into still work.
func TestLocalWithoutRoot(t *testing.T) {
	if os.Getuid() == 0 && os.Getenv("OUTPUT_TEST_UNPRIVILEGED") == "" {
		asNobody(t)
		return
	}
	dest := filepath.Join(t.TempDir(), "out")
	b := simple(t, []layer.Layer{layerOf(t,
		entry(layer.Entry{Path: "closed", Type: layer.Directory, Mode: 0o555}), file("closed/f", "inside"),
		layer.File{Entry: layer.Entry{Path: "capable", Type: layer.Regular, Mode: 0o755, ModTime: now,
			Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}}},
	)}, amd64)
	res := must[*output.Result](t)(write(t, output.NewLocal(dest, nil), b))
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "security.capability") {
		t.Errorf("notes are %q", res.Notes)
	}
	if got := list(t, dest); got["closed/f"] != "inside" {
		t.Errorf("got %v", got)
	}
	device := simple(t, []layer.Layer{layerOf(t, entry(layer.Entry{Path: "null", Type: layer.CharDevice, Major: 1, Minor: 3, Mode: 0o666}))}, amd64)
	dest += "2"
	if _, err := write(t, output.NewLocal(dest, nil), device); err == nil || !strings.Contains(err.Error(), "only root") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dest); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was left: %v", err)
	}
	// What cannot be removed by its owner would fail the test's own clean-up.
	if err := os.Chmod(strings.TrimSuffix(dest, "2")+"/closed", 0o755); err != nil {
		t.Error(err)
	}
}

// asNobody runs the calling test again in another process, as the user nobody.
func asNobody(t *testing.T) {
	t.Helper()
	tmp := t.TempDir()
	bin := filepath.Join(tmp, "test")
	self, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(bin, self, 0o755), os.Chmod(tmp, 0o777), os.Chmod(filepath.Dir(tmp), 0o755)); err != nil { //nolint:gosec // nobody must be able to run it
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = tmp
	cmd.Env = []string{"OUTPUT_TEST_UNPRIVILEGED=1", "TMPDIR=" + tmp, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
