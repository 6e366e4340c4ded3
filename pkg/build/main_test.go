package build

import (
	"os"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation/namespace"
)

// Whoever asks for the isolation by namespaces starts this program again.
func TestMain(m *testing.M) {
	namespace.Init()
	os.Exit(m.Run())
}
