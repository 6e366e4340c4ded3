package inplace_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/state"
)

// newBackend returns a backend for the throwaway root.
func newBackend(tb testing.TB) *inplace.Backend {
	tb.Helper()
	st, err := state.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	b, err := inplace.New(st, inplace.Options{Note: func(text string) { tb.Log(text) }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(b.Close(), st.Close()); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// TestBackend runs the suite.
func TestBackend(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	suite(t)
}

// suite runs the suite, with the mounts of the pod or of the throwaway root.
func suite(t *testing.T) {
	except := exceptions()
	if os.Getenv(throwaway) == inPod {
		except["Walls/all capabilities if insecure"] = "the pod has none but the default ones"
	}
	isolationtest.Run(t, newBackend(t), isolationtest.Limits{
		Serial: true, Beside: []string{inplace.StoreName, "var", strings.TrimPrefix(isolationtest.SuiteVolume, "/"), "etc/hostname"}, Except: except,
	})
}

// exceptions are the cases that need a namespace or a mount.
func exceptions() map[string]string {
	const (
		etc   = "the pod's own file is mounted there"
		name  = "the host name is the pod's"
		mount = "nothing can be mounted, so nothing is read-only for root"
	)
	return map[string]string{
		"Files/writing through one of two links":       "a file with two names stays one, and both names change",
		"Process/another size of shared memory":        "refused: /dev/shm is the pod's",
		"Process/hosts and host name":                  name,
		"Process/given hosts and host name":            name,
		"Process/the image's own host name file":       etc,
		"Process/name servers behind a dangling link":  etc,
		"Process/links that lead out of the root":      etc,
		"Process/links in a circle":                    etc,
		"Process/the provided files cannot be written": "they are the pod's own mounts, and get their content back",
		"Mounts/bind read-only cannot be written":      mount,
		"Mounts/cache read-only":                       "refused: " + mount,
		"Mounts/tmpfs":                                 "refused: a directory has no size",
		"Mounts/secret":                                "the target is a link to a file in memory",
		"Mounts/mount inside a read-only mount":        mount,
		"Walls/no network but the loopback interface":  "refused: needs a network namespace",
	}
}

// Never in a root directory that is not marked as ours.
func TestRefusesOtherRoots(t *testing.T) {
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, root := range []string{"", "/", "/proc/self/root"} {
		_, err := inplace.New(st, inplace.Options{Root: root})
		var unsupported *isolation.UnsupportedError
		if !errors.As(err, &unsupported) {
			t.Fatalf("New with root %q: error is %v, want an UnsupportedError", root, err)
		}
	}
}
