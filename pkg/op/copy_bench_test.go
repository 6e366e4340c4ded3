package op

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// manyFiles is a tree of n files, a hundred to a directory.
func manyFiles(tb testing.TB, n int) *tree.Tree {
	tb.Helper()
	files := make([]layer.File, n)
	content := layer.Bytes([]byte("content"))
	for i := range files {
		files[i] = layer.File{
			Entry: layer.Entry{
				Path: fmt.Sprintf("src/%04d/file-%02d.txt", i/100, i%100), Type: layer.Regular, Mode: 0o644, Size: 7,
				ModTime: time.Unix(int64(i), 0).UTC(), Sum: layer.Sum{1, byte(i), byte(i >> 8)},
			},
			Content: content,
		}
	}
	l, err := layer.New(files)
	must(tb, err)
	return tree.New(l)
}

func benchmarkCopy(b *testing.B, run func(ctx context.Context, f *File, env *Env, in []Input) error, change ...func(*Copy)) {
	b.Helper()
	in := []Input{input(nil, 1), input(manyFiles(b, 100_000), 2)}
	_, err := in[1].Tree.View(b.Context())
	must(b, err)
	f, env := &File{Actions: copyOne("/src", "/app", change...)}, testEnv(b)
	b.ReportAllocs()
	for b.Loop() {
		must(b, run(b.Context(), f, env, in))
	}
}

func runFile(ctx context.Context, f *File, env *Env, in []Input) error {
	_, err := f.Run(ctx, env, in)
	return err
}

func keyFile(ctx context.Context, f *File, env *Env, in []Input) error {
	_, err := f.Key(ctx, env, in)
	return err
}

// The sizes in these benchmarks are of the whole copy: 100,000 files in 1,000 directories.

func BenchmarkCopy(b *testing.B) { benchmarkCopy(b, runFile) }
func BenchmarkCopyPatterns(b *testing.B) {
	benchmarkCopy(b, runFile, exclude("**/*-99.txt", "0*/file-1*"))
}
func BenchmarkFileKey(b *testing.B) { benchmarkCopy(b, keyFile) }
