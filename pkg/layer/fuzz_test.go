package layer

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

func FuzzReadTar(f *testing.F) {
	for _, lines := range []string{
		"",
		"d a\nf a/b content\nl a/c -> b\nh a/d => a/b\nc e 1 3\np f",
		"f .wh.a\nd a\nf a/.wh..wh..opq\nf a/x 1",
		"l a -> ../b\nf a/x 1",
		"h a => b\nf b 1\nf b 2\nf b/.. 3",
		"f " + strings.Repeat("long/", 60) + "x xattr:user.k=v",
		"d .wh..wh.plnk\nf .wh..wh.plnk/1 x\nh a => .wh..wh.plnk/1",
	} {
		f.Add(specTar(f, lines))
	}
	f.Add(oldSparse("disk", 5000, [][2]int64{{1000, 4}, {5000, 0}}, "data"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Headers are protected by a checksum, which the mutator cannot make.
		data = bytes.Clone(data)
		for i := 0; i+512 <= len(data); i += 512 {
			if block := data[i : i+512]; string(block[257:262]) == "ustar" {
				setChecksum(block)
			}
		}
		x, c, err := readTarWith(t.Context(), bytes.NewReader(data), tarOptions{sums: true, holes: 32 << 20})
		if err != nil {
			return
		}
		checkRead(t, x, c, data)
	})
}

// checkRead checks what must be true of everything that readTar accepts.
func checkRead(t *testing.T, x *Index, c *extents, data []byte) {
	tarFile := &Tar{index: x, extents: c, r: bytes.NewReader(data)}
	for i := range x.Len() {
		e := x.At(i)
		for dir, _ := splitPath(e.Path); dir != ""; dir, _ = splitPath(dir) {
			if parent, err := x.Lookup(dir); err == nil && parent.Type != Directory {
				t.Fatalf("%q lies below %q, which is no directory", e.Path, dir)
			}
		}
		if strings.HasPrefix(base(e.Path), whiteoutPrefix) {
			t.Fatalf("%q is in the index", e.Path)
		}
		if e.Type == Hardlink {
			if target, err := x.Lookup(e.Link); err == nil && (target.Type == Hardlink || target.Type == Directory) {
				t.Fatalf("%q links to %+v", e.Path, target)
			}
		}
		if e.Type == Regular && e.Size < 10<<20 {
			if got := contentOf(t, tarFile, i); e.Sum != sha256.Sum256([]byte(got)) {
				t.Fatalf("%q: content is not that of the sum", e.Path)
			}
		}
	}
	encoded, err := encodeIndex(x, c)
	if err != nil {
		t.Fatal(err)
	}
	if y, d, err := decodeIndex(encoded); err != nil || !x.equal(y) || len(d.at) != len(c.at) {
		t.Fatalf("index does not survive: %v", err)
	}
	checkWritten(t, &spooled{tarFile})
}

// checkWritten writes a layer that has been read and reads it again.
func checkWritten(t *testing.T, l *spooled) {
	for e := range l.tar.index.All() {
		if e.Size > 10<<20 || e.Major > maxDevice || e.Minor > maxDevice {
			return
		}
	}
	var b bytes.Buffer
	written, err := WriteTar(t.Context(), &b, l)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	again, err := ReadTar(t.Context(), &b)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if !written.equal(again) {
		t.Fatalf("written\n%s\nread again\n%s", describe(t, written, nil), describe(t, again, nil))
	}
	for i := range written.Len() {
		before := secondsOf(*l.tar.index.At(i))
		if !written.At(i).equal(&before) {
			t.Fatalf("%+v was written as\n%+v", before, written.At(i))
		}
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"", "a", "./a//b/", "/../a", "a/../..", "...", strings.Repeat("a/", 3000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := cleanName(name)
		if err != nil {
			return
		}
		e := Entry{Path: p, Type: Directory, ModTime: time.Unix(0, 0)}
		if err := e.validate(); err != nil && !strings.Contains(name, "\x00") {
			t.Errorf("%q became %q: %v", name, p, err)
		}
		if again, err := cleanName(p); err != nil || again != p {
			t.Errorf("%q became %q, and that %q, %v", name, p, again, err)
		}
	})
}
