package namespace_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
)

func TestProbe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	_ = newBackend(t, newState(t)) // skips where it cannot work
	if err := namespace.Probe(t.Context(), t.TempDir()); err != nil {
		t.Error(err)
	}
}

// wantReason checks that Probe says why the backend cannot work, with each of the words.
func wantReason(t *testing.T, dir string, words ...string) {
	t.Helper()
	err := namespace.Probe(t.Context(), dir)
	var u *isolation.UnsupportedError
	if !errors.As(err, &u) {
		t.Fatalf("error is %v, want an UnsupportedError", err)
	}
	t.Log(err)
	for _, w := range words {
		if !strings.Contains(u.Reason, w) {
			t.Errorf("reason is %q, want it to contain %q", u.Reason, w)
		}
	}
}

func TestProbeNamesMissingCapabilities(t *testing.T) {
	if os.Getenv(inPodVariable) == "" {
		inPod(t, "TestProbeNamesMissingCapabilities", "chown,dac_override,setuid", "")
		return
	}
	wantReason(t, t.TempDir(), "no namespaces can be made", "SETGID, SETFCAP", "SYS_ADMIN")
}

func TestProbeNamesTheStateDirectory(t *testing.T) {
	// A directory on overlayfs, as everything in a container that is not on a volume.
	if os.Getenv(inPodVariable) == "" {
		dir := t.TempDir()
		for _, name := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("SLIPWAY_TEST_OVERLAY", filepath.Join(dir, "merged"))
		inPod(t, "TestProbeNamesTheStateDirectory", podCapabilities,
			"cd "+dir+"; mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged")
		return
	}
	wantReason(t, os.Getenv("SLIPWAY_TEST_OVERLAY"), "mounting the root filesystem", "volume")
}

func TestMaskedProcIsShown(t *testing.T) {
	if os.Getenv(inPodVariable) == "" {
		inPod(t, "TestMaskedProcIsShown", podCapabilities, maskProc)
		return
	}
	b := newBackend(t, newState(t))
	out := runShell(t, b, "readlink /proc/1/exe || echo not ours; test -c /proc/keys && echo masked")
	if out != "not ours\nmasked\n" {
		t.Errorf("output is %q", out)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/keys", &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Errorf("the test itself has no masked /proc (%v)", err)
	}
}
