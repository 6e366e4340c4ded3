package sandbox_test

import (
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox"
	"github.com/slipway-build/slipway/pkg/state"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	m.Run()
}

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
