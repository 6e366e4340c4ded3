package compression

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// text makes n bytes that compress about as well as a root filesystem does.
func text(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+16<<10)
	for len(b) < n {
		at := rnd.IntN(len(words()))
		b = append(b, words()[at:min(at+rnd.IntN(16<<10), len(words()))]...)
	}
	return b[:n]
}

// words is what text cuts its pieces from.
var words = sync.OnceValue(func() []byte {
	rnd := rand.New(rand.NewPCG(3, 4))
	lexicon := make([][]byte, 4000)
	for i := range lexicon {
		lexicon[i] = make([]byte, 3+rnd.IntN(9))
		for j := range lexicon[i] {
			lexicon[i][j] = byte('a' + rnd.IntN(26))
		}
	}
	var b []byte
	for len(b) < 1<<20 {
		if rnd.IntN(10) == 0 {
			b = append(b, byte(rnd.Uint32()))
			continue
		}
		b = append(append(b, lexicon[int(rnd.ExpFloat64()*200)%len(lexicon)]...), ' ')
	}
	return b
})

func compress(tb testing.TB, o Options, chunks ...[]byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, o)
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range chunks {
		if n, err := w.Write(c); n != len(c) || err != nil {
			tb.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func decompress(tb testing.TB, data []byte) ([]byte, Algorithm, error) {
	tb.Helper()
	r, a, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, a, err
	}
	got, err := io.ReadAll(r)
	if closeErr := r.Close(); closeErr != nil {
		tb.Errorf("closing the reader: %v", closeErr)
	}
	return got, a, err
}

var allOptions = []Options{
	{},
	{Algorithm: Gzip, Level: 1},
	{Algorithm: Gzip, Level: 9},
	{Algorithm: Gzip, Level: Stored},
	{Algorithm: Zstd},
	{Algorithm: Zstd, Level: 1},
	{Algorithm: Zstd, Level: 8},
	{Algorithm: Zstd, Level: 22},
	{Algorithm: None},
}

func TestRoundTrip(t *testing.T) {
	for _, o := range allOptions {
		sizes := []int{0, 1, 1000, gzipBlock, gzipBlock + 1}
		if o.Level == DefaultLevel {
			sizes = append(sizes, 4*zstdWindow, 4*zstdWindow+1)
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%s level %d, %d bytes", o.Algorithm, o.Level, n), func(t *testing.T) {
				want := text(n)
				got, a, err := decompress(t, compress(t, o, want))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes became %d: %v", len(want), len(got), err)
				}
				if a != o.Algorithm {
					t.Errorf("recognised as %v", a)
				}
			})
		}
	}
}

// TestDeterministic compresses on different numbers of cores, in different chunks.
func TestDeterministic(t *testing.T) {
	data := text(2*4*zstdWindow + 5<<20) // several blocks for several workers
	rnd := rand.New(rand.NewPCG(3, 4))
	runs := []struct {
		cores int
		next  func(rest int) int
	}{
		{1, func(rest int) int { return rest }},
		{1, func(int) int { return 99991 }},
		{2, func(int) int { return 512 }},                           // tar's blocks
		{7, func(int) int { return rnd.IntN(2) * rnd.IntN(3<<20) }}, // with empty writes
	}
	for _, o := range []Options{{}, {Algorithm: Zstd}, {Algorithm: Zstd, Level: 1}} {
		var want []byte
		for i, run := range runs {
			var chunks [][]byte
			for rest := data; len(rest) > 0; {
				n := min(run.next(len(rest)), len(rest))
				chunks = append(chunks, rest[:n])
				rest = rest[n:]
			}
			got := onCores(run.cores, func() []byte { return compress(t, o, chunks...) })
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%v: run %d on %d cores gave other bytes", o, i, run.cores)
			}
		}
	}
}

func onCores(n int, f func() []byte) []byte {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	return f()
}

// TestGzipHeader pins the header: no time, no name, no operating system.
func TestGzipHeader(t *testing.T) {
	want := []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	if got := compress(t, Options{}, text(10)); !bytes.HasPrefix(got, want) {
		t.Errorf("header is %x, want %x", got[:10], want)
	}
}

// TestOthersRead has the standard library and, where they are installed, the reference
// programs read what we write.
func TestOthersRead(t *testing.T) {
	want := text(5 << 20)
	zip := compress(t, Options{}, want)
	r, err := gzip.NewReader(bytes.NewReader(zip))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("compress/gzip: %v", err)
	}
	for program, data := range map[string][]byte{"gzip": zip, "zstd": compress(t, Options{Algorithm: Zstd}, want)} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Logf("%s is not installed", program)
			continue
		}
		cmd := exec.CommandContext(t.Context(), path, "-dc")
		cmd.Stdin = bytes.NewReader(data)
		if got, err := cmd.Output(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", program, err)
		}
	}
}

func mustDecode(t *testing.T, s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// helloBzip2 is "hello\n" compressed by bzip2; Go's libraries only read that format.
const helloBzip2 = "QlpoOTFBWSZTWcHAgOIAAAFBAAAQAkSgADDNAMNGKZcXckU4UJDBwIDi"

func TestReader(t *testing.T) {
	hello := []byte("hello\n")
	var xzBuf bytes.Buffer
	w, err := xz.NewWriter(&xzBuf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(hello); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	gz, zst := compress(t, Options{}, hello), compress(t, Options{Algorithm: Zstd}, hello)
	skippable := []byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc")
	tests := []struct {
		name string
		data []byte
		want string
		a    Algorithm
	}{
		{"empty", nil, "", None},
		{"short", []byte("\x1f"), "\x1f", None},
		{"plain", hello, "hello\n", None},
		{"gzip", gz, "hello\n", Gzip},
		{"gzip of several members", append(bytes.Clone(gz), gz...), "hello\nhello\n", Gzip},
		{"zstd", zst, "hello\n", Zstd},
		{"zstd of several frames", append(bytes.Clone(zst), zst...), "hello\nhello\n", Zstd},
		{"zstd with skippable frames", append(append(bytes.Clone(skippable), zst...), skippable...), "hello\n", Zstd},
		{"bzip2", mustDecode(t, helloBzip2), "hello\n", Bzip2},
		{"xz", xzBuf.Bytes(), "hello\n", XZ},
		{"xz of several streams", append(bytes.Clone(xzBuf.Bytes()), xzBuf.Bytes()...), "hello\nhello\n", XZ},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, a, err := decompress(t, tt.data)
			if err != nil || string(got) != tt.want || a != tt.a {
				t.Errorf("got %q by %v, %v; want %q by %v", got, a, err, tt.want, tt.a)
			}
			// Byte by byte, as a slow connection gives it.
			r, _, err := NewReader(iotest.OneByteReader(bytes.NewReader(tt.data)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != tt.want {
				t.Errorf("byte by byte: %q, %v", got, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if tt.a == None {
				return
			}
			for n := len(magicOf(tt.a)); n < len(tt.data); n++ {
				got, _, err := decompress(t, tt.data[:n])
				if err == nil && !strings.HasPrefix(tt.want, string(got)) {
					t.Errorf("cut after %d bytes: %q", n, got)
				}
				if err == nil && !strings.Contains(tt.name, "several") && !strings.Contains(tt.name, "skippable") {
					t.Errorf("cut after %d of %d bytes: no error", n, len(tt.data))
				}
			}
		})
	}
}

func magicOf(a Algorithm) string {
	for _, m := range magics {
		if m.algorithm == a {
			return m.magic
		}
	}
	return "BZh9"
}

func TestTruncatedIsUnexpectedEOF(t *testing.T) {
	data := text(3 << 20)
	for _, o := range []Options{{}, {Algorithm: Zstd}} {
		whole := compress(t, o, data)
		for _, n := range []int{6, 9, 30, len(whole) / 2, len(whole) - 1} {
			if _, _, err := decompress(t, whole[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v cut after %d of %d bytes: %v", o.Algorithm, n, len(whole), err)
			}
		}
	}
}

func TestCorrupt(t *testing.T) {
	data := text(1500 << 10)
	for _, o := range []Options{{}, {Algorithm: Zstd}} {
		whole := compress(t, o, data)
		for i := len(whole) / 7; i < len(whole); i += len(whole) / 7 {
			bad := bytes.Clone(whole)
			bad[i] ^= 0x10
			if got, _, err := decompress(t, bad); err == nil && !bytes.Equal(got, data) {
				t.Errorf("%v with byte %d changed: no error", o.Algorithm, i)
			}
		}
		if _, _, err := decompress(t, append(bytes.Clone(whole), "garbage after the end"...)); err == nil {
			t.Errorf("%v with garbage after its end: no error", o.Algorithm)
		}
	}
}

// TestZstdWindow has a frame ask for more memory than we give.
func TestZstdWindow(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(256<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := z.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := decompress(t, b.Bytes()); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Errorf("error is %v", err)
	}
}

func TestReadErrorIsPassedOn(t *testing.T) {
	broken := errors.New("connection reset")
	data := compress(t, Options{}, text(1<<20))
	for _, n := range []int{0, 3, 100, len(data) / 2} {
		r, _, err := NewReader(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)))
		if err == nil {
			_, err = io.ReadAll(r)
			if closeErr := r.Close(); closeErr != nil {
				t.Error(closeErr)
			}
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// TestNoGoroutinesLeft abandons streams in every way.
func TestNoGoroutinesLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	data := text(6 << 20)
	for _, o := range []Options{{}, {Algorithm: Zstd}} {
		for range 2 {
			w, err := NewWriter(&failingWriter{left: 100_000}, o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(data)
			if closeErr := w.Close(); err == nil && closeErr == nil {
				t.Errorf("%v: no error although nothing could be written", o.Algorithm)
			}
			r, _, err := NewReader(bytes.NewReader(compress(t, o, data)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines became %d", before, runtime.NumGoroutine())
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestOptions(t *testing.T) {
	bad := []Options{
		{Algorithm: Gzip, Level: 10},
		{Algorithm: Gzip, Level: -2},
		{Algorithm: Zstd, Level: 23},
		{Algorithm: Zstd, Level: Stored},
		{Algorithm: Bzip2},
		{Algorithm: XZ},
		{Algorithm: 99},
	}
	for _, o := range bad {
		if err := o.Validate(); err == nil {
			t.Errorf("%+v is accepted", o)
		}
		if _, err := NewWriter(io.Discard, o); err == nil {
			t.Errorf("%+v: NewWriter gives no error", o)
		}
	}
	for _, o := range allOptions {
		if err := o.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]Algorithm{"gzip": Gzip, "zstd": Zstd, "uncompressed": None, "none": None} {
		if got, err := Parse(name); got != want || err != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "GZIP", "estargz", "xz", "bzip2"} {
		if got, err := Parse(name); err == nil {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, o := range allOptions {
		f.Add(compress(f, o, text(300)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<20))
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	data := text(64 << 20)
	for _, o := range []Options{
		{Algorithm: Gzip, Level: 1}, {Algorithm: Gzip, Level: 4}, {Algorithm: Gzip, Level: 5}, {Algorithm: Gzip, Level: 6}, {Algorithm: Gzip, Level: 9},
		{Algorithm: Zstd, Level: 1}, {Algorithm: Zstd, Level: 3}, {Algorithm: Zstd, Level: 8},
	} {
		b.Run(fmt.Sprintf("%s-%d", o.Algorithm, o.Level), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			var n int
			for b.Loop() {
				n = len(compress(b, o, data))
			}
			b.ReportMetric(float64(n)/float64(len(data)), "ratio")
		})
	}
}

func BenchmarkReader(b *testing.B) {
	data := text(64 << 20)
	for _, o := range []Options{{Algorithm: Gzip}, {Algorithm: Zstd}} {
		b.Run(o.Algorithm.String(), func(b *testing.B) {
			compressed := compress(b, o, data)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				r, _, err := NewReader(bytes.NewReader(compressed))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
