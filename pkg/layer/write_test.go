package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
)

func TestWrite(t *testing.T) {
	uncompressed := tarOf(t, sample)
	wantDiffID, _, err := v1.SHA256(bytes.NewReader(uncompressed))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		options compression.Options
		media   types.MediaType
	}{
		{compression.Options{}, types.OCILayer},
		{compression.Options{Algorithm: compression.Gzip, Level: 9}, types.OCILayer},
		{compression.Options{Algorithm: compression.Gzip, Level: compression.Stored}, types.OCILayer},
		{compression.Options{Algorithm: compression.Zstd}, types.OCILayerZStd},
		{compression.Options{Algorithm: compression.Zstd, Level: 22}, types.OCILayerZStd},
		{compression.Options{Algorithm: compression.None}, types.OCIUncompressedLayer},
	}
	for _, tt := range tests {
		b := try(layer.Write(t.Context(), fromNew(t, sample), stateDir(t), tt.options))(t).Blob()
		compressed := try(io.ReadAll(try(b.Compressed())(t)))(t)
		digest, size, err := v1.SHA256(bytes.NewReader(compressed))
		if err != nil {
			t.Fatal(err)
		}
		if d := try(b.Digest())(t); d != digest {
			t.Errorf("%v: digest %v, of the bytes %v", tt.options, d, digest)
		}
		if n := try(b.Size())(t); n != size {
			t.Errorf("%v: size %d, of the bytes %d", tt.options, n, size)
		}
		if d := try(b.DiffID())(t); d != wantDiffID {
			t.Errorf("%v: diffID %v, want %v", tt.options, d, wantDiffID)
		}
		if m := try(b.MediaType())(t); m != tt.media {
			t.Errorf("%v: media type %v", tt.options, m)
		}
		rc := try(b.Uncompressed())(t)
		if got := try(io.ReadAll(rc))(t); !bytes.Equal(got, uncompressed) {
			t.Errorf("%v: uncompressed, it is not what WriteTar writes", tt.options)
		}
		if err := rc.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestWriteIsWhatIsReadBack compares the index that Write gives with that of the tar, and with that of the blob, which has no
// sums.
func TestWriteIsWhatIsReadBack(t *testing.T) {
	files := []layer.File{
		{Entry: layer.Entry{Path: "z", Type: layer.Regular, Size: 4, ModTime: modTime.Add(5)}, Content: layer.Bytes([]byte("data"))},
		{Entry: layer.Entry{Path: "b", Type: layer.Hardlink, Link: "z"}},
		{Entry: layer.Entry{Path: "a", Type: layer.Hardlink, Link: "b"}},
		{Entry: layer.Entry{Path: "c", Type: layer.Whiteout, ModTime: modTime}},
	}
	w := try(layer.Write(t.Context(), try(layer.New(files))(t), stateDir(t), compression.Options{}))(t)
	r := layer.FromBlob(w.Blob(), stateDir(t))
	x := try(w.Index(t.Context()))(t)
	y := try(layer.ReadTar(t.Context(), try(w.Blob().Uncompressed())(t)))(t)
	z := try(r.Index(t.Context()))(t)
	if a, b := try(x.MarshalBinary())(t), try(y.MarshalBinary())(t); !bytes.Equal(a, b) {
		t.Errorf("the indexes differ")
	}
	for i := range x.Len() {
		want := *x.At(i)
		want.Sum = layer.Sum{}
		if got := *z.At(i); !reflect.DeepEqual(got, want) {
			t.Errorf("the blob's index has %+v, want %+v", got, want)
		}
	}
	for _, l := range []layer.Layer{w, r} {
		if got := try(io.ReadAll(try(l.Open(t.Context(), "a"))(t)))(t); string(got) != "data" {
			t.Errorf("the first name has the content %q", got)
		}
	}
}

func TestWriteFails(t *testing.T) {
	broken := errors.New("broken")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	tests := []struct {
		name    string
		ctx     context.Context
		layer   layer.Layer
		options compression.Options
		want    error
	}{
		{"no index", t.Context(), badLayer{Layer: layer.Empty(), index: broken}, compression.Options{}, broken},
		{"no content", t.Context(), badLayer{Layer: fromNew(t, sample), open: broken}, compression.Options{}, broken},
		{"cancelled", cancelled, fromNew(t, sample), compression.Options{}, broken},
		{"format that cannot be written", t.Context(), fromNew(t, sample), compression.Options{Algorithm: compression.XZ}, nil},
		{"level out of range", t.Context(), fromNew(t, sample), compression.Options{Level: 10}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			dir := stateDir(t)
			_, err := layer.Write(tt.ctx, tt.layer, dir, tt.options)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
			if err != nil && strings.Count(err.Error(), "broken") > 1 {
				t.Errorf("error repeats itself: %v", err)
			}
			if got := kept(t, dir); len(got) > 0 {
				t.Errorf("kept %v", got)
			}
			for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines became %d", before, runtime.NumGoroutine())
				}
			}
		})
	}
}

type badLayer struct {
	layer.Layer
	index, open error
}

func (l badLayer) Index(ctx context.Context) (*layer.Index, error) {
	if l.index != nil {
		return nil, l.index
	}
	return l.Layer.Index(ctx)
}

func (l badLayer) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	if l.open != nil {
		return nil, l.open
	}
	return l.Layer.Open(ctx, path)
}

// TestWriteDeterministic writes the same entries in another order, on another number of cores.
func TestWriteDeterministic(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var files []layer.File
	for i := range 300 {
		content := make([]byte, rnd.IntN(100000))
		for j := range content {
			content[j] = "abcdefgh"[rnd.IntN(8)]
		}
		files = append(files, layer.File{
			Entry:   layer.Entry{Path: "d/" + strings.Repeat("n", 1+i), Type: layer.Regular, Size: int64(len(content)), ModTime: modTime},
			Content: layer.Bytes(content),
		})
	}
	for _, a := range []compression.Algorithm{compression.Gzip, compression.Zstd} {
		var want v1.Hash
		for _, cores := range []int{1, 2, 7} {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			rnd.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
			l := try(layer.New(append([]layer.File(nil), files...)))(t)
			got := try(try(layer.Write(t.Context(), l, stateDir(t), compression.Options{Algorithm: a}))(t).Blob().Digest())(t)
			if want.Hex == "" {
				want = got
			}
			if got != want {
				t.Errorf("%v on %d cores: digest %v, before %v", a, cores, got, want)
			}
		}
	}
}

// TestWriteMemory writes a layer much larger than the memory that it may take.
func TestWriteMemory(t *testing.T) {
	const size, limit = 512 << 20, 120 << 20
	l := try(layer.New([]layer.File{{
		Entry:   layer.Entry{Path: "big", Type: layer.Regular, Size: size},
		Content: endless(size),
	}}))(t)
	var stats runtime.MemStats
	runtime.GC() // what earlier tests left
	runtime.ReadMemStats(&stats)
	before, peak := stats.HeapInuse, uint64(0)
	l = watching{l, func() {
		runtime.ReadMemStats(&stats)
		peak = max(peak, stats.HeapInuse)
	}}
	if _, err := layer.Write(t.Context(), l, stateDir(t), compression.Options{Algorithm: compression.Zstd}); err != nil {
		t.Fatal(err)
	}
	if used := peak - min(peak, before); used > limit {
		t.Errorf("%d MiB of memory for a layer of %d MiB", used>>20, size>>20)
	}
}

// endless is content of that many bytes.
type endless int64

func (n endless) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zeros{}, int64(n))), nil
}

// watching calls look every now and then while content is read.
type watching struct {
	layer.Layer
	look func()
}

func (w watching) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	rc, err := w.Layer.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return &watchingReader{ReadCloser: rc, look: w.look}, nil
}

type watchingReader struct {
	io.ReadCloser
	look func()
	n    int
}

func (r *watchingReader) Read(p []byte) (int, error) {
	if r.n++; r.n%500 == 0 {
		r.look()
	}
	return r.ReadCloser.Read(p)
}
