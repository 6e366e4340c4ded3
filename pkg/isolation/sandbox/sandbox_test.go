package sandbox_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/config"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// newBackend returns a backend with a state directory of its own.
func newBackend(tb testing.TB) *sandbox.Backend {
	tb.Helper()
	st, err := state.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	b, err := sandbox.New(tb.Context(), st)
	if config.CgoEnabled {
		var unsupported *isolation.UnsupportedError
		if !errors.As(err, &unsupported) {
			tb.Fatalf("with cgo, the error is %v", err)
		}
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

// Nothing that a kernel was made of stays, not even as a zombie.
func TestNothingIsLeft(t *testing.T) {
	b := newBackend(t)
	for range 2 {
		p := &isolation.Process{Root: (*tree.Tree)(nil).Push(layer.Empty()), Args: []string{"/nothing"}, Cwd: "/"}
		var exit *isolation.ExitError
		if _, err := b.Run(t.Context(), p); !errors.As(err, &exit) || exit.Code != 127 {
			t.Fatalf("the error is %v", err)
		}
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("there is still a child: %d, %v", pid, err)
	}
}

// What the kernel lacks is told with the error of a process that asked for it, and only there.
func TestLackingSystemCalls(t *testing.T) {
	b := newBackend(t)
	root := tree.New(isolationtest.Helper(t))
	for _, c := range []struct {
		word string
		want []string
	}{{"remap", []string{"remap_file_pages"}}, {"rseq", nil}, {"unknown", nil}} {
		_, err := b.Run(t.Context(), &isolation.Process{Root: root, Args: []string{"/bin/helper", c.word}, Cwd: "/"})
		var exit *isolation.ExitError
		if !errors.As(err, &exit) || exit.Code != 1 {
			t.Fatalf("%s: the error is %v", c.word, err)
		}
		if !slices.Equal(exit.Lacking, c.want) {
			t.Errorf("%s: lacking is %q, want %q", c.word, exit.Lacking, c.want)
		}
		if told := strings.Contains(err.Error(), "asked in vain for remap_file_pages"); told != (c.want != nil) {
			t.Errorf("%s: the error is %q", c.word, err)
		}
	}
}

// TestBackend runs the suite.
func TestBackend(t *testing.T) {
	isolationtest.Run(t, newBackend(t), isolationtest.Limits{})
}
