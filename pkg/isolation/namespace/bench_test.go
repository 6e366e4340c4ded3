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

// BenchmarkRunWrites is a RUN that writes 10,000 files, with the scan for them.
func BenchmarkRunWrites(b *testing.B) {
	backend := newBackend(b, newState(b))
	script := "for d in $(seq 100); do mkdir -p /d/$d; cd /d/$d; for f in $(seq 100); do echo $f >$f; done; done"
	for b.Loop() {
		p := &isolation.Process{Root: isolationtest.Rootfs(b), Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/"}
		c, err := backend.Run(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		x, err := c.Root.Index(b.Context())
		if err != nil || x.Len() != 10_101 {
			b.Fatalf("%d entries, %v", x.Len(), err)
		}
	}
}
