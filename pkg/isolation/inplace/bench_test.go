package inplace_test

import (
	"fmt"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/layer"
)

// BenchmarkTouchOne is a RUN that touches one of 100,000 files, over a tree that is extracted
// already. Compare with BenchmarkTouchOfNone: the difference is the price of finding it.
func BenchmarkTouchOne(b *testing.B) { benchmarkTouch(b, 100_000) }

// BenchmarkTouchOfNone is the same without the files.
func BenchmarkTouchOfNone(b *testing.B) { benchmarkTouch(b, 0) }

func benchmarkTouch(b *testing.B, count int) {
	if !inThrowaway(b) {
		return
	}
	backend := newBackend(b)
	var files []layer.File
	for i := range count {
		files = append(files, isolationtest.File(fmt.Sprintf("srv/%03d/%d", i/200, i), 0o644, "x"))
	}
	root := isolationtest.Rootfs(b).Push(isolationtest.Layer(b, files...))
	step := func() {
		c, err := backend.Run(b.Context(), &isolation.Process{
			Root: root, Args: []string{"/bin/touch", "/srv/001/201"}, Env: []string{"PATH=/bin"}, Cwd: "/srv/001",
		})
		if err != nil {
			b.Fatal(err)
		}
		root = root.Push(c.Root)
	}
	step()
	for b.Loop() {
		step()
	}
}
