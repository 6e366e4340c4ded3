package layer

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// sampleEntries has every field at its extremes.
func sampleEntries() []Entry {
	return []Entry{
		{Path: "", Type: Directory, Opaque: true, Mode: 0o7777, ModTime: time.Unix(0, 0).UTC()},
		{Path: "a", Type: Directory, ModTime: time.Unix(-1, 999_999_999).UTC()},
		{Path: "a/b", Type: Regular, UID: math.MaxUint32, GID: math.MaxUint32, Size: math.MaxInt64 - 1e6, Sum: Sum{31: 1}, ModTime: time.Unix(1<<40, 1).UTC()},
		{Path: "a/c", Type: Symlink, Link: "../\xff\xfe", ModTime: time.Unix(math.MinInt64, 0).UTC()},
		{Path: "a/d", Type: Hardlink, Link: "a/b", ModTime: time.Unix(math.MaxInt64, 0).UTC()},
		{Path: "a/e", Type: CharDevice, Major: math.MaxUint32, Minor: 1, ModTime: time.Time{}.UTC()},
		{Path: "a/f", Type: BlockDevice, Minor: math.MaxUint32, ModTime: testTime},
		{Path: "a/g", Type: Fifo, ModTime: testTime},
		{Path: "a/h", Type: Whiteout, ModTime: testTime},
		{Path: "a/i", Type: Regular, Xattrs: map[string]string{"user.a": "", "user.b": "\x00\xff", "": "x"}, ModTime: testTime},
		{Path: "b\n/" + strings.Repeat("long", 1000), Type: Regular, Size: 1, ModTime: testTime},
		{Path: "b\xff", Type: Regular, Size: 1, ModTime: testTime},
	}
}

func mustIndex(tb testing.TB, entries []Entry) *Index {
	tb.Helper()
	x, err := NewIndex(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

func TestCodecRoundTrip(t *testing.T) {
	tests := map[string][]Entry{
		"empty":  {},
		"sample": sampleEntries(),
		"random": randomEntries(rand.New(rand.NewPCG(1, 2)), 5000),
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			x := mustIndex(t, entries)
			data, err := x.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			y, err := DecodeIndex(data)
			if err != nil {
				t.Fatal(err)
			}
			if y.Len() != x.Len() {
				t.Fatalf("%d entries became %d", x.Len(), y.Len())
			}
			for i := range x.Len() {
				if !reflect.DeepEqual(x.At(i), y.At(i)) {
					t.Errorf("%+v became\n%+v", x.At(i), y.At(i))
				}
			}
			if !x.equal(y) {
				t.Error("equal says that they differ")
			}
			again, err := y.MarshalBinary()
			if err != nil || !bytes.Equal(data, again) {
				t.Errorf("encoding is not deterministic (%v)", err)
			}
		})
	}
}

func TestCodecExtents(t *testing.T) {
	x := mustIndex(t, []Entry{
		{Path: "a", Type: Regular, Size: 100},
		{Path: "b", Type: Symlink, Link: "a"},
		{Path: "c", Type: Regular, Size: 1 << 30},
		{Path: "d", Type: Regular},
	})
	c := &extents{tarSize: 10000, at: []extent{{offset: 9000}, {}, {offset: 512, sparse: true}, {offset: 10000}}}
	data, err := encodeIndex(x, c)
	if err != nil {
		t.Fatal(err)
	}
	y, d, err := decodeIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	if !x.equal(y) || !reflect.DeepEqual(c, d) {
		t.Errorf("%+v became %+v", c, d)
	}
	for name, bad := range map[string]*extents{
		"offset beyond the end":  {tarSize: 10000, at: []extent{{offset: 10001}, {}, {sparse: true}, {}}},
		"negative offset":        {tarSize: 10000, at: []extent{{offset: -1}, {}, {sparse: true}, {}}},
		"content beyond the end": {tarSize: 10000, at: []extent{{offset: 9901}, {}, {sparse: true}, {}}},
	} {
		data, err := encodeIndex(x, bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decodeIndex(data); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestCodecSize keeps an eye on compactness: it is stored beside every cached layer.
func TestCodecSize(t *testing.T) {
	const n = 10000
	data, err := mustIndex(t, randomEntries(rand.New(rand.NewPCG(1, 2)), n)).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	// Of each entry 32 bytes are a digest, which cannot be compressed.
	if per := float64(len(data)) / n; per > 50 {
		t.Errorf("%.1f bytes for each entry", per)
	}
}

func TestDecodeIndexRefuses(t *testing.T) {
	want := mustIndex(t, sampleEntries())
	good, err := want.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	pack := func(payload string) []byte {
		enc, err := indexEncoder()
		if err != nil {
			t.Fatal(err)
		}
		return enc.EncodeAll([]byte(payload), []byte(indexMagic))
	}
	entry := func(s string) []byte { return pack("\x00\x01" + s) }
	tests := map[string][]byte{
		"nothing":              nil,
		"other format":         []byte("{}"),
		"other version":        append([]byte("slipway-index\x02"), good[len(indexMagic):]...),
		"no payload":           []byte(indexMagic),
		"truncated":            good[:len(good)-1],
		"garbage after it":     append(bytes.Clone(good), "garbage"...),
		"empty payload":        pack(""),
		"unknown flags":        pack("\x02\x00"),
		"more after the end":   pack("\x00\x00\x00"),
		"count without bytes":  pack("\x00\x7f"),
		"absurd count":         pack("\x00\xff\xff\xff\xff\x0f"),
		"endless number":       pack("\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
		"type 0":               entry("\x00\x00\x00\x01a\x00\x00\x00\x00"),
		"type 9":               entry("\x09\x00\x00\x01a\x00\x00\x00\x00"),
		"mode beyond 07777":    entry("\x01\x00\x00\x01a\x80\x20\x00\x00\x00"),
		"prefix out of bounds": entry("\x01\x00\x01\x01a\x00\x00\x00\x00"),
		"path that climbs":     entry("\x01\x00\x00\x04../a\x00\x00\x00\x00"),
		"absolute path":        entry("\x01\x00\x00\x02/a\x00\x00\x00\x00"),
		"string too long":      entry("\x01\x00\x00\x7fa\x00\x00\x00\x00"),
		"nanos too large":      entry("\x01\x01\x00\x01a\x00\x00\x00\x00\x80\x94\xeb\xdc\x03"),
		"no xattrs":            entry("\x01\x10\x00\x01a\x00\x00\x00\x00\x00"),
		"xattr twice":          entry("\x01\x10\x00\x01a\x00\x00\x00\x00\x02\x01x\x00\x01x\x00"),
		"path twice":           pack("\x00\x02\x01\x00\x00\x01a\x00\x00\x00\x00\x01\x00\x00\x01a\x00\x00\x00\x00"),
		"wrong order":          pack("\x00\x02\x01\x00\x00\x01b\x00\x00\x00\x00\x01\x00\x00\x01a\x00\x00\x00\x00"),
		"bomb":                 append([]byte(indexMagic), bomb(t, 256<<20)...),
	}
	if _, err := DecodeIndex(entry("\x01\x00\x00\x01a\x00\x00\x00\x00")); err != nil {
		t.Fatalf("the entry that the others are variants of: %v", err)
	}
	for name, data := range tests {
		if x, err := DecodeIndex(data); err == nil {
			t.Errorf("%s: gave %d entries and no error", name, x.Len())
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		// Some bits of a zstd frame mean nothing.
		if x, err := DecodeIndex(bad); err == nil && !x.equal(want) {
			t.Errorf("byte %d changed: no error", i)
		}
	}
}

// bomb is a small zstd frame with n bytes of content.
func bomb(tb testing.TB, n int) []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		tb.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for range n / len(chunk) {
		if _, err := z.Write(chunk); err != nil {
			tb.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// randomEntries is a root filesystem's worth of plausible entries.
func randomEntries(rnd *rand.Rand, n int) []Entry {
	entries := make([]Entry, 0, n)
	dirs := []string{""}
	seen := map[string]bool{"": true}
	words := []string{"usr", "lib", "share", "python3", "site-packages", "doc", "locale", "node_modules", "include", "linux", "x86_64-linux-gnu", "test", "index", "main", "util"}
	for len(entries) < n {
		p := joinPath(dirs[rnd.IntN(len(dirs))], words[rnd.IntN(len(words))])
		e := Entry{Path: p, Type: Directory, Mode: 0o755, ModTime: testTime.Add(time.Duration(rnd.IntN(1000)) * time.Second)}
		if rnd.IntN(8) > 0 {
			e.Path += []string{".py", ".so.1", ".js", ".h", ""}[rnd.IntN(5)] + string(rune('a'+rnd.IntN(26))) + string(rune('a'+rnd.IntN(26)))
			e.Type, e.Mode, e.Size = Regular, 0o644, int64(rnd.IntN(100000))
			for i := range e.Sum {
				e.Sum[i] = byte(rnd.Uint32())
			}
		}
		if seen[e.Path] {
			continue
		}
		seen[e.Path] = true
		if e.Type == Directory && strings.Count(p, "/") < 8 {
			dirs = append(dirs, p)
		}
		entries = append(entries, e)
	}
	return entries
}

func FuzzDecodeIndex(f *testing.F) {
	for _, entries := range [][]Entry{{}, sampleEntries()} {
		data, err := mustIndex(f, entries).MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[len(indexMagic):], true)
	}
	f.Add([]byte("\x00\x01\x01\x00\x00\x01a\x00\x00\x00\x00"), false)
	f.Add([]byte("\x01\x01\x01\x02\x00\x01a\x00\x00\x00\x00\x05\x0a\x00"), false)
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		if !framed { // the mutator does not know how to make zstd frames
			enc, err := indexEncoder()
			if err != nil {
				t.Fatal(err)
			}
			data = enc.EncodeAll(data, nil)
		}
		x, c, err := decodeIndex(append([]byte(indexMagic), data...))
		if err != nil {
			return
		}
		again, err := encodeIndex(x, c)
		if err != nil {
			t.Fatal(err)
		}
		y, d, err := decodeIndex(again)
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v", err)
		}
		if !x.equal(y) || !reflect.DeepEqual(c, d) {
			t.Fatal("decoding and encoding changed the index")
		}
	})
}
