package layer_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
)

const benchEntries = 100_000

// benchLayer has as many entries as a large root filesystem, of 2 kB on average.
func benchLayer(b *testing.B) layer.Layer {
	rnd := rand.New(rand.NewPCG(1, 2))
	pool := make([]byte, 1<<20)
	for i := range pool {
		pool[i] = byte('a' + int(rnd.ExpFloat64()*3)%26)
	}
	files := make([]layer.File, 0, benchEntries)
	for d := 0; len(files) < benchEntries; d++ {
		dir := fmt.Sprintf("usr/lib/module%02d/package%03d", d%50, d)
		files = append(files, layer.File{Entry: layer.Entry{Path: dir, Type: layer.Directory, Mode: 0o755, ModTime: modTime}})
		for i := range 24 {
			n := int(rnd.ExpFloat64() * 2000)
			at := rnd.IntN(len(pool) - min(n, len(pool)))
			content := pool[at:][:min(n, len(pool)-at)]
			files = append(files, layer.File{
				Entry:   layer.Entry{Path: fmt.Sprintf("%s/source%02d.py", dir, i), Type: layer.Regular, Mode: 0o644, Size: int64(len(content)), ModTime: modTime},
				Content: layer.Bytes(content),
			})
		}
	}
	return try(layer.New(files))(b)
}

func benchTar(b *testing.B) []byte {
	var buf bytes.Buffer
	if _, err := layer.WriteTar(b.Context(), &buf, benchLayer(b)); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

// reportHeap reports what stays in memory for keep.
func reportHeap(b *testing.B, keep func() any) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // pools let go in the second round
	runtime.ReadMemStats(&before)
	kept := keep()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/(1<<20), "MB-kept")
	runtime.KeepAlive(kept)
}

func BenchmarkReadTar(b *testing.B) {
	data := benchTar(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := layer.ReadTar(b.Context(), bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	reportHeap(b, func() any { return try(layer.ReadTar(b.Context(), bytes.NewReader(data)))(b) })
	runtime.KeepAlive(data)
}

func BenchmarkWriteTar(b *testing.B) {
	l := benchLayer(b)
	b.SetBytes(int64(len(benchTar(b))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := layer.WriteTar(b.Context(), io.Discard, l); err != nil {
			b.Fatal(err)
		}
	}
}

func benchState(b *testing.B) *state.Dir {
	dir := try(state.Open(b.TempDir()))(b)
	b.Cleanup(func() { _ = dir.Close() })
	return dir
}

// BenchmarkWrite is the whole way from a layer to a compressed blob on disk.
func BenchmarkWrite(b *testing.B) {
	l := benchLayer(b)
	size := int64(len(benchTar(b)))
	for _, a := range []compression.Algorithm{compression.Gzip, compression.Zstd, compression.None} {
		b.Run(a.String(), func(b *testing.B) {
			dir := benchState(b)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := layer.Write(b.Context(), l, dir, compression.Options{Algorithm: a}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFetch is the whole way from a compressed blob to an indexed tar on disk.
func BenchmarkFetch(b *testing.B) {
	l := benchLayer(b)
	size := int64(len(benchTar(b)))
	for _, a := range []compression.Algorithm{compression.Gzip, compression.Zstd, compression.None} {
		b.Run(a.String(), func(b *testing.B) {
			written := try(layer.Write(b.Context(), l, benchState(b), compression.Options{Algorithm: a}))(b).Blob()
			blob := inMemory{written, try(io.ReadAll(try(written.Compressed())(b)))(b)}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				dir := benchState(b)
				b.StartTimer()
				if _, err := layer.FromBlob(blob, dir).Index(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// inMemory is a blob whose download takes no time.
type inMemory struct {
	v1.Layer
	data []byte
}

func (m inMemory) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.data)), nil
}

func BenchmarkIndexCodec(b *testing.B) {
	x := try(layer.ReadTar(b.Context(), bytes.NewReader(benchTar(b))))(b)
	data := try(x.MarshalBinary())(b)
	b.Run("Encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.MarshalBinary(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(data)), "bytes")
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := layer.DecodeIndex(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
