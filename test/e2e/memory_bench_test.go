package e2e

import (
	"bufio"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// memoryLimit is how many bytes a build may have resident at once, whatever it builds.
const memoryLimit = 300 << 20

// BenchmarkLargeLayer builds and pushes a layer of 2 GB that cannot be compressed, and reports the most memory that the
// build had at once.
func BenchmarkLargeLayer(b *testing.B) {
	registry := distribution.Serve(b)
	context := b.TempDir()
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte("FROM scratch\nCOPY big /\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	writeRandom(b, filepath.Join(context, "big"), 2<<30)
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), shared.binary, "build", "--progress=plain", "--state-dir", filepath.Join(b.TempDir(), "state"), "-t", registry.Host+"/big", context)
		cmd.Env = []string{"HOME=" + context}
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			b.Fatal("the system does not say what a process used")
		}
		peak := usage.Maxrss << 10
		if peak > memoryLimit {
			b.Errorf("%d bytes were resident at once, more than %d", peak, memoryLimit)
		}
		b.ReportMetric(float64(peak)/1e6, "peak-MB")
	}
}

// writeRandom writes a file that no compression makes smaller.
func writeRandom(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	r := rand.NewChaCha8([32]byte{})
	block := make([]byte, 1<<20)
	for ; size > 0; size -= int64(len(block)) {
		if _, err := r.Read(block); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}
