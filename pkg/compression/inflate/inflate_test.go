package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// inputs are contents of many kinds: with no, short and long matches, near and far.
func inputs() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 300<<10)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	var words, sparse bytes.Buffer
	for words.Len() < 900<<10 {
		at := rnd.IntN(len(random) - 40)
		words.Write(random[at%5000 : at%5000+rnd.IntN(40)])
		words.WriteString(strings.Repeat("ab", rnd.IntN(4)))
	}
	for sparse.Len() < 2<<20 {
		sparse.WriteByte(byte(rnd.Uint32()))
		sparse.Write(make([]byte, rnd.IntN(100<<10)))
	}
	var far bytes.Buffer
	for far.Len() < 600<<10 {
		// As far back as a match may begin, and a little less and more.
		far.Write(random[:window-2+rnd.IntN(4)])
	}
	var periods bytes.Buffer
	for n := 1; n < 40; n++ {
		periods.WriteString(strings.Repeat(string(random[:n]), 1000/n))
	}
	return map[string][]byte{
		"nothing": nil, "a byte": {'a'}, "a word": []byte("hello"), "random": random, "words": words.Bytes(),
		"zeros": make([]byte, 1<<20), "sparse": sparse.Bytes(), "far": far.Bytes(), "periods": periods.Bytes(),
	}
}

// levels of the writers: Huffman codes alone, stored, fast, best.
var levels = []int{flate.HuffmanOnly, 0, 1, 5, 9}

func deflated(tb testing.TB, data []byte, level int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func zipped(tb testing.TB, data []byte, level int, header gzip.Header) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	w.Header = header
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// unzipped reads all and closes nothing.
func unzipped(r io.Reader) ([]byte, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestReader(t *testing.T) {
	for name, data := range inputs() {
		for _, level := range levels {
			t.Run(fmt.Sprintf("%s, level %d", name, level), func(t *testing.T) {
				packed := zipped(t, data, level, gzip.Header{})
				var written bytes.Buffer
				z, err := NewReader(bytes.NewReader(packed))
				if err != nil {
					t.Fatal(err)
				}
				if n, err := io.Copy(&written, z); err != nil || n != int64(len(data)) || !bytes.Equal(written.Bytes(), data) {
					t.Errorf("WriteTo: %d of %d bytes, %v", n, len(data), err)
				}
				for kind, r := range map[string]io.Reader{
					"read":              bytes.NewReader(packed),
					"read by halves":    iotest.HalfReader(bytes.NewReader(packed)),
					"data with the end": iotest.DataErrReader(bytes.NewReader(packed)),
				} {
					if got, err := unzipped(r); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s: %d of %d bytes, %v", kind, len(got), len(data), err)
					}
				}
			})
		}
	}
}

// TestStreamsInARow has so many streams that the room for what is decompressed is used up in the middle of some.
func TestStreamsInARow(t *testing.T) {
	var packed, want bytes.Buffer
	rnd := rand.New(rand.NewPCG(3, 4))
	all := inputs()["words"]
	for want.Len() < 2<<20 {
		at := rnd.IntN(len(all) - 20000)
		data := all[at : at+rnd.IntN(20000)]
		want.Write(data)
		packed.Write(zipped(t, data, 6, gzip.Header{}))
	}
	got, err := unzipped(iotest.OneByteReader(&packed))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d of %d bytes, %v", len(got), want.Len(), err)
	}
}

// TestMatchesStayInTheirStream has a match that reaches back into the stream before.
func TestMatchesStayInTheirStream(t *testing.T) {
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, 9, []byte("hello hello hello"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hello hello hello")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed := zipped(t, []byte("hello hello hello"), 9, gzip.Header{})
	packed = append(append(packed, packed[:10]...), b.Bytes()...)
	if got, err := unzipped(bytes.NewReader(packed)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHeaders(t *testing.T) {
	full := gzip.Header{Name: "name", Comment: "comment", Extra: bytes.Repeat([]byte("x"), 60000)}
	packed := zipped(t, []byte("hello"), 6, full)
	if got, err := unzipped(bytes.NewReader(packed)); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	// The standard library writes no checksum of a header.
	plain := zipped(t, []byte("hello"), 6, gzip.Header{})
	plain[3] |= hasCRC
	sum := crcOf(plain[:10])
	good := append(append(bytes.Clone(plain[:10]), sum...), plain[10:]...)
	if got, err := unzipped(bytes.NewReader(good)); err != nil || string(got) != "hello" {
		t.Errorf("with a checksum: %q, %v", got, err)
	}
	good[10] ^= 1
	if _, err := unzipped(bytes.NewReader(good)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("with a wrong checksum: %v", err)
	}
	for i, c := range []byte{0x1e, 0x8a, 7, 0x20} { // magic, method, reserved flag
		bad := bytes.Clone(plain)
		bad[min(i, 3)] = c
		if _, err := unzipped(bytes.NewReader(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d as %#x: %v", i, c, err)
		}
	}
}

// TestTruncated cuts streams everywhere.
func TestTruncated(t *testing.T) {
	data := append([]byte(strings.Repeat("hello, world. ", 30)), inputs()["random"][:500]...)
	for _, level := range levels {
		packed := zipped(t, data, level, gzip.Header{Name: "name", Extra: []byte("extra")})
		if got, _ := unzipped(bytes.NewReader(packed[:len(packed)-8])); len(got) != len(data) {
			t.Errorf("level %d, without a checksum: %d of %d bytes are given out before the error", level, len(got), len(data))
		}
		for n := range packed {
			got, err := unzipped(bytes.NewReader(packed[:n]))
			if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(data, got) {
				t.Fatalf("level %d, cut after %d of %d bytes: %d bytes, %v", level, n, len(packed), len(got), err)
			}
		}
		broken := errors.New("broken")
		r := io.MultiReader(bytes.NewReader(packed[:len(packed)-9]), iotest.ErrReader(broken))
		if _, err := unzipped(r); !errors.Is(err, broken) {
			t.Errorf("level %d: a reader's error became %v", level, err)
		}
	}
}

// TestDamaged changes bytes and has the checksum find it out where nothing else does.
func TestDamaged(t *testing.T) {
	data := []byte(strings.Repeat("hello, world. ", 30))
	for _, level := range levels {
		packed := zipped(t, data, level, gzip.Header{})
		for i := 10; i < len(packed); i++ {
			for bit := range 8 {
				bad := bytes.Clone(packed)
				bad[i] ^= 1 << bit
				// Padding between blocks means nothing.
				if got, err := unzipped(bytes.NewReader(bad)); err == nil && !bytes.Equal(got, data) {
					t.Fatalf("level %d, bit %d of byte %d: no error", level, bit, i)
				}
			}
		}
	}
}

// FuzzDeflate compares with the standard library.
func FuzzDeflate(f *testing.F) {
	for _, data := range inputs() {
		for _, level := range levels {
			f.Add(deflated(f, data[:min(len(data), 2000)], level))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		theirs := flate.NewReader(bytes.NewReader(packed))
		want, wantErr := io.ReadAll(io.LimitReader(theirs, 4<<20))
		d := newDecoder(bytes.NewReader(packed))
		var got []byte
		var err error
		for err == nil && len(got) < 4<<20 {
			var b []byte
			b, err = d.next()
			got = append(got, b...)
		}
		if err == io.EOF {
			err = nil
		}
		if len(want) == 4<<20 {
			got, err = got[:min(len(got), len(want))], nil
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("the error is %v, the standard library's %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, the standard library has %d others", len(got), len(want))
		}
		if !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want) {
			t.Fatal("what was decompressed until the error is not what the standard library has")
		}
		if errors.Is(wantErr, io.ErrUnexpectedEOF) && err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("the error is %v, the standard library's %v", err, wantErr)
		}
	})
}

func crcOf(header []byte) []byte {
	return binary.LittleEndian.AppendUint16(nil, uint16(crc32.ChecksumIEEE(header)))
}
