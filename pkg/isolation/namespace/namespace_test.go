package namespace_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/state"
)

// newState opens a state directory for one test.
func newState(tb testing.TB) *state.Dir {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root")
	}
	st, err := state.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	return st
}

// newBackend returns a backend that keeps its files in st.
func newBackend(tb testing.TB, st *state.Dir) *namespace.Backend {
	tb.Helper()
	b, err := namespace.New(st, namespace.Options{})
	var unsupported *isolation.UnsupportedError
	if errors.As(err, &unsupported) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// TestBackend runs the suite with the privileges that the test has.
func TestBackend(t *testing.T) {
	b := newBackend(t, newState(t))
	isolationtest.Run(t, b, isolationtest.Limits{NoDevices: !hasSysAdmin(t)})
}

func hasSysAdmin(tb testing.TB) bool {
	tb.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		tb.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// podCapabilities is what container runtimes give to a pod that asks for nothing, in the words of
// setpriv(1).
const podCapabilities = "chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap,setpcap,net_bind_service,sys_chroot,kill,audit_write"

// inPod runs a test of this binary again as in a pod with the given capabilities, after the shell
// command prepare in a mount namespace of its own.
func inPod(t *testing.T, test, capabilities, prepare string) {
	t.Helper()
	if os.Geteuid() != 0 || !hasSysAdmin(t) {
		t.Skip("needs CAP_SYS_ADMIN, in order to give it up")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("needs setpriv (package util-linux)")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bounding := "-all"
	for c := range strings.SplitSeq(capabilities, ",") {
		if c != "" {
			bounding += ",+" + c
		}
	}
	cmd := exec.Command("/bin/sh", "-ec", prepare+`
		exec "$@"`, "sh",
		setpriv, "--bounding-set", bounding, "--inh-caps", "-all",
		self, "-test.run", "^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), inPodVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+test) {
		t.Errorf("%s did not pass:\n%s", test, out)
	}
}

// inPodVariable marks the environment of tests that inPod runs.
const inPodVariable = "SLIPWAY_TEST_IN_POD"

// TestBackendWithUserNamespace runs the suite with the capabilities of an ordinary pod.
func TestBackendWithUserNamespace(t *testing.T) {
	inPod(t, "TestBackend", podCapabilities, "")
}

// TestBackendWithMaskedProc does, too, but with /proc as container runtimes mount it: the kernel
// then gives a user namespace no new one.
func TestBackendWithMaskedProc(t *testing.T) {
	inPod(t, "TestBackend", podCapabilities, maskProc)
}

// maskProc hides and protects parts of /proc, as container runtimes do.
const maskProc = "mount --bind /dev/null /proc/keys; mount --bind -o ro /proc/sys /proc/sys"
