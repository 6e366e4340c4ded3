package erofs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkWrite writes 10,000 files of 8 KiB in 500 directories.
func BenchmarkWrite(b *testing.B) {
	content := randomBytes(8 << 10)
	at := time.Unix(1_000_000_000, 1)
	nodes := []Node{{Mode: unix.S_IFDIR | 0o755, ModTime: at}}
	for d := range 500 {
		dir := fmt.Sprintf("d%d", d)
		nodes = append(nodes, Node{Path: dir, Mode: unix.S_IFDIR | 0o755, ModTime: at})
		for f := range 20 {
			nodes = append(nodes, Node{Path: fmt.Sprintf("%s/f%d", dir, f), Mode: unix.S_IFREG | 0o644, Size: int64(len(content)), ModTime: at})
		}
	}
	open := func(context.Context, int) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	run := func(b *testing.B, w func() io.Writer) {
		b.ReportAllocs()
		for b.Loop() {
			size, err := Write(b.Context(), w(), nodes, open)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size)
		}
	}
	b.Run("discard", func(b *testing.B) { run(b, func() io.Writer { return io.Discard }) })
	b.Run("file", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "image"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		run(b, func() io.Writer {
			// Blocks of a file that is written anew are allocated anew.
			if err := f.Truncate(0); err != nil {
				b.Fatal(err)
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				b.Fatal(err)
			}
			return f
		})
	})
}
