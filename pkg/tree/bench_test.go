package tree

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

// benchEntries are the entries of a layer like that of a large distribution: 100,000 names,
// 4,000 of them directories, with paths of some 60 bytes and known sums.
func benchEntries() []layer.Entry {
	var entries []layer.Entry
	add := func(e layer.Entry) {
		e.ModTime = specTime
		entries = append(entries, e)
	}
	for i := range 20 {
		top := fmt.Sprintf("usr/share/collection-%02d", i)
		add(layer.Entry{Path: top, Type: layer.Directory, Mode: 0o755})
		for j := range 199 {
			dir := fmt.Sprintf("%s/package-with-a-name-%03d", top, j)
			add(layer.Entry{Path: dir, Type: layer.Directory, Mode: 0o755})
			for k := range 24 {
				e := layer.Entry{Path: fmt.Sprintf("%s/file-number-%02d.txt", dir, k), Type: layer.Regular, Mode: 0o644, Size: 100}
				e.Sum[0], e.Sum[1], e.Sum[2] = byte(i)+1, byte(j), byte(k)
				add(e)
			}
		}
	}
	for i := range 100_000 - len(entries) {
		add(layer.Entry{Path: fmt.Sprintf("usr/lib/link-%04d", i), Type: layer.Symlink, Mode: 0o777, Link: "../share/collection-00"})
	}
	return entries
}

func benchLayer(b *testing.B) layer.Layer {
	b.Helper()
	entries := benchEntries()
	files := make([]layer.File, len(entries))
	for i := range entries {
		files[i].Entry = entries[i]
		if entries[i].Type == layer.Regular {
			files[i].Content = layer.Bytes(make([]byte, 100))
		}
	}
	l, err := layer.New(files)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func benchView(b *testing.B) (*Tree, *View) {
	b.Helper()
	t := New(benchLayer(b))
	v, err := t.View(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return t, v
}

// BenchmarkView makes the view of one layer of 100,000 entries whose index is there.
// retained-MB is what index and view occupy together.
func BenchmarkView(b *testing.B) {
	before := heap()
	x, err := layer.NewIndex(benchEntries())
	if err != nil {
		b.Fatal(err)
	}
	var v *View
	b.ReportAllocs()
	for b.Loop() {
		if v, err = newEmptyView().apply(nil, x); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/1e6, "retained-MB")
	if v.Len() < 100_000 {
		b.Fatal(v.Len())
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkApplySmall puts a layer of ten entries over 100,000.
func BenchmarkApplySmall(b *testing.B) {
	_, v := benchView(b)
	var files []layer.File
	for i := range 10 {
		p := fmt.Sprintf("usr/share/collection-%02d/package-with-a-name-000/new", i)
		files = append(files, layer.File{Entry: layer.Entry{Path: p, Type: layer.Regular, Mode: 0o644}})
	}
	l, err := layer.New(files)
	if err != nil {
		b.Fatal(err)
	}
	x, err := l.Index(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.apply(l, x); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApplyAgain puts 100,000 entries over the same 100,000.
func BenchmarkApplyAgain(b *testing.B) {
	_, v := benchView(b)
	l := benchLayer(b)
	x, err := l.Index(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.apply(l, x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	_, v := benchView(b)
	for name, p := range map[string]string{
		"plain": "/usr/share/collection-00/package-with-a-name-100/file-number-10.txt",
		"link":  "/usr/lib/link-0100/package-with-a-name-100/file-number-10.txt",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Lookup(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWalk goes through 100,000 names.
func BenchmarkWalk(b *testing.B) {
	_, v := benchView(b)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range v.Walk("") {
			n++
		}
		if n != v.Len() {
			b.Fatal(n)
		}
	}
}

// BenchmarkDigest makes the digest of 100,000 names with known sums, from nothing.
func BenchmarkDigest(b *testing.B) {
	_, v := benchView(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		forget(v.Root())
		b.StartTimer()
		if _, err := v.Digest(b.Context(), ""); err != nil {
			b.Fatal(err)
		}
	}
}

// forget drops the digests that are kept.
func forget(n *Node) {
	if n.dir == nil {
		return
	}
	for i := range n.dir.digests {
		n.dir.digests[i].Store(nil)
	}
	for c := range n.Children() {
		forget(c)
	}
}

// BenchmarkDigestAfterChange is what the key of a COPY costs after a small layer.
func BenchmarkDigestAfterChange(b *testing.B) {
	t, v := benchView(b)
	if _, err := v.Digest(b.Context(), ""); err != nil {
		b.Fatal(err)
	}
	l, err := layer.New([]layer.File{{Entry: layer.Entry{Path: "usr/share/new", Type: layer.Directory}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		v, err := t.Push(l).View(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Digest(b.Context(), ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigestSums makes sums and digest of 10,000 files of 100 bytes in memory.
func BenchmarkDigestSums(b *testing.B) {
	var files []layer.File
	for i := range 10_000 {
		e := layer.Entry{Path: fmt.Sprintf("d%02d/f%02d", i/100, i%100), Type: layer.Regular, Size: 100}
		files = append(files, layer.File{Entry: e, Content: layer.Bytes(make([]byte, 100))})
	}
	l, err := layer.New(files)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		v, err := New(l).View(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Digest(b.Context(), ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigestSelection hashes a selection of 100,000 names.
func BenchmarkDigestSelection(b *testing.B) {
	_, v := benchView(b)
	var sel []Selected
	for p, n := range v.Walk("") {
		sel = append(sel, Selected{p, n})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DigestSelection(b.Context(), sel); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUser resolves a user by name.
func BenchmarkUser(b *testing.B) {
	v := userView(b, testPasswd, testGroup)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.User(b.Context(), "alice"); err != nil {
			b.Fatal(err)
		}
	}
}
