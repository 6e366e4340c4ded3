package upper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/upper"
	"github.com/slipway-build/slipway/pkg/tree"
)

// BenchmarkScan reads an upper directory with 10,000 files in 200 directories.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	for d := range 200 {
		sub := filepath.Join(dir, fmt.Sprint(d))
		if err := os.Mkdir(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for f := range 50 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(f)), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	below, err := tree.New().View(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := upper.Scan(b.Context(), root, below, upper.Options{Xattrs: overlay.User})
		if err != nil {
			b.Fatal(err)
		}
		if x, err := l.Index(b.Context()); err != nil || x.Len() != 10_200 {
			b.Fatal(x.Len(), err)
		}
	}
}
