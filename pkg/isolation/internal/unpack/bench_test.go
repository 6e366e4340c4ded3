package unpack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/layer"
)

// bigLayer is a layer of 20,000 files of 4 KiB in 1,000 directories, with the modes and
// owners that files of base images have.
func bigLayer(tb testing.TB) layer.Layer {
	tb.Helper()
	content := make([]byte, 4096)
	at := time.Unix(1_000_000_000, 1)
	var files []layer.File
	for d := range 1000 {
		dir := fmt.Sprintf("d%d", d)
		files = append(files, layer.File{Entry: layer.Entry{Path: dir, Type: layer.Directory, Mode: 0o755, ModTime: at}})
		for f := range 20 {
			files = append(files, layer.File{
				Entry:   layer.Entry{Path: fmt.Sprintf("%s/f%d", dir, f), Type: layer.Regular, Mode: 0o644, Size: int64(len(content)), ModTime: at},
				Content: layer.Bytes(content),
			})
		}
	}
	l, err := layer.New(files)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// BenchmarkLayer unpacks 20,000 files with different numbers of workers.
func BenchmarkLayer(b *testing.B) {
	l := bigLayer(b)
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
			u, err := unpack.New(unpack.Options{Xattrs: overlay.User, Workers: workers})
			if err != nil {
				b.Fatal(err)
			}
			top := b.TempDir()
			n := 0
			for b.Loop() {
				dir := filepath.Join(top, fmt.Sprint(n))
				n++
				if err := os.Mkdir(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				if err := u.Layer(b.Context(), l, nil, dir); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
