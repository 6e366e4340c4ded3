package namespace_test

import (
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
)

// BenchmarkRun is what a RUN costs that does nothing, over layers that are unpacked already.
func BenchmarkRun(b *testing.B) {
	backend := newBackend(b, newState(b))
	p := &isolation.Process{Root: isolationtest.Rootfs(b), Args: []string{"/bin/true"}, Cwd: "/"}
	if _, err := backend.Run(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := backend.Run(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}
