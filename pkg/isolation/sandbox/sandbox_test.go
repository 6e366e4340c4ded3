package sandbox_test

import (
	"errors"
	"testing"

	"gvisor.dev/gvisor/runsc/config"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox"
	"github.com/slipway-build/slipway/pkg/state"
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

// TestBackend runs the suite.
func TestBackend(t *testing.T) {
	isolationtest.Run(t, newBackend(t), isolationtest.Limits{})
}
