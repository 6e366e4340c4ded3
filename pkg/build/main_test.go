package build

import (
	"os"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox"
)

// Whoever asks for the isolation by namespaces starts this program again.
func TestMain(m *testing.M) {
	namespace.Init()
	sandbox.Init()
	os.Exit(m.Run())
}
