package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// virtualLayer makes a layer of lines in the form of spec_test.go.
func virtualLayer(tb testing.TB, lines string) Layer {
	tb.Helper()
	var files []File
	for _, line := range specLines(lines) {
		opaque := strings.HasPrefix(line, "o ") || line == "o"
		if opaque {
			line = "d" + line[1:]
		}
		if gone, ok := strings.CutPrefix(line, "w "); ok {
			files = append(files, File{Entry: Entry{Path: gone, Type: Whiteout, ModTime: testTime}})
			continue
		}
		h, content := specHeader(tb, line)
		e, err := entryOf(h)
		if err != nil {
			tb.Fatal(err)
		}
		e.Opaque = opaque
		f := File{Entry: e}
		if e.Type == Regular {
			f.Content = Bytes([]byte(content))
		}
		files = append(files, f)
	}
	l, err := New(files)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// listTar describes the headers of a tar as they are, in its order.
func listTar(tb testing.TB, data []byte) string {
	tb.Helper()
	var b strings.Builder
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			tb.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			tb.Fatal(err)
		}
		format := "ustar"
		if len(h.PAXRecords) > 0 {
			format = "pax"
		}
		if h.Uname != "" || h.Gname != "" || h.Format == tar.FormatGNU {
			tb.Errorf("%q: owner %q, group %q, format %v", h.Name, h.Uname, h.Gname, h.Format)
		}
		fmt.Fprintf(&b, "%s %c %#o %d:%d %d %s", format, h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(&b, " > %s", h.Linkname)
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			fmt.Fprintf(&b, " %d,%d", h.Devmajor, h.Devminor)
		}
		if len(content) > 0 {
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteByte('\n')
	}
}

func TestWriteTarGolden(t *testing.T) {
	long := strings.Repeat("d/", 70)
	tests := []struct{ name, layer, want string }{
		{"empty", ``, ``},
		{"all types", `
			d .
			f a hello uid=1000 gid=50
			c b 1 3
			b c 8 0
			p d
			l e -> ../x
		`, `
			ustar 5 0755 0:0 1700000000 ./
			ustar 0 0644 1000:50 1700000000 a "hello"
			ustar 3 0644 0:0 1700000000 b 1,3
			ustar 4 0644 0:0 1700000000 c 8,0
			ustar 6 0644 0:0 1700000000 d
			ustar 2 0777 0:0 1700000000 e > ../x
		`},
		{"deletions", `
			o a
			f a/x 1
			w a/y
			w b
		`, `
			ustar 5 0755 0:0 1700000000 a/
			ustar 0 0 0:0 0 a/.wh..wh..opq
			ustar 0 0644 0:0 1700000000 a/x "1"
			ustar 0 0 0:0 0 a/.wh.y
			ustar 0 0 0:0 0 .wh.b
		`},
		{"opaque root", `
			o .
		`, `
			ustar 5 0755 0:0 1700000000 ./
			ustar 0 0 0:0 0 .wh..wh..opq
		`},
		{"hard links come after their target", `
			h a => m
			f m content uid=7 xattr:user.k=v
			h z => m
			h y => a
		`, `
			pax 0 0644 7:0 1700000000 a "content"
			ustar 1 0644 7:0 1700000000 m > a
			ustar 1 0644 7:0 1700000000 y > a
			ustar 1 0644 7:0 1700000000 z > a
		`},
		{"hard link to a lower layer", `
			h a => usr/x
			h b => a
		`, `
			ustar 1 0644 0:0 1700000000 a > usr/x
			ustar 1 0644 0:0 1700000000 b > usr/x
		`},
		{"PAX only where needed", `
			f ` + long + `1
			f ` + strings.Repeat("n", 101) + `
			f id uid=2097151
			f id-large uid=2097152
			f plain
			f ü
		`, `
			ustar 0 0644 0:0 1700000000 ` + long + `1
			ustar 0 0644 2097151:0 1700000000 id
			pax 0 0644 2097152:0 1700000000 id-large
			pax 0 0644 0:0 1700000000 ` + strings.Repeat("n", 101) + `
			ustar 0 0644 0:0 1700000000 plain
			pax 0 0644 0:0 1700000000 ü
		`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			x, err := WriteTar(t.Context(), &b, virtualLayer(t, tt.layer))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := listTar(t, b.Bytes()), normal(tt.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			y, err := ReadTar(t.Context(), &b)
			if err != nil {
				t.Fatal(err)
			}
			if !x.equal(y) {
				t.Errorf("returned index\n%s\nread back\n%s", describe(t, x, nil), describe(t, y, nil))
			}
		})
	}
}

// TestWriteTarBytes pins the exact bytes: a change of them changes the digest of every image
// that anybody rebuilds.
func TestWriteTarBytes(t *testing.T) {
	var b bytes.Buffer
	if _, err := WriteTar(t.Context(), &b, virtualLayer(t, "d bin\nf bin/sh x\nl sh -> bin/sh")); err != nil {
		t.Fatal(err)
	}
	header := func(name, mode, size, checksum, kind, link string) string {
		fill := func(s string, n int) string { return s + strings.Repeat("\x00", n-len(s)) }
		return fill(fill(name, 100)+mode+"\x000000000\x000000000\x00"+size+"\x0014524770400\x00"+checksum+"\x00 "+
			kind+fill(link, 100)+"ustar\x0000"+fill("", 64)+"0000000\x000000000\x00", 512)
	}
	want := header("bin/", "0000755", "00000000000", "010017", "5", "") +
		header("bin/sh", "0000644", "00000000001", "010343", "0", "") + "x" + strings.Repeat("\x00", 511) +
		header("sh", "0000777", "00000000000", "010706", "2", "bin/sh") +
		strings.Repeat("\x00", 1024)
	if got := b.String(); got != want {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("byte %d is %q, want %q: %q", i, got[i], want[i], got[i&^511:i&^511+512])
			}
		}
		t.Fatalf("length is %d, want %d", len(got), len(want))
	}
}

func TestWriteTarTimes(t *testing.T) {
	tests := []struct{ in, want time.Time }{
		{time.Unix(5, 0), time.Unix(5, 0)},
		{time.Unix(5, 999_999_999), time.Unix(5, 0)},
		{time.Unix(0, 0), time.Unix(0, 0)},
		{time.Unix(-1, 500_000_000), time.Unix(-1, 0)},
		{time.Unix(1<<33, 1), time.Unix(1<<33, 0)}, // the first second that USTAR has no room for
		{time.Time{}, time.Unix(0, 0)},
	}
	for _, tt := range tests {
		l, err := New([]File{{Entry: Entry{Path: "a", Type: Regular, ModTime: tt.in.UTC()}}})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := WriteTar(t.Context(), &b, l); err != nil {
			t.Fatal(err)
		}
		x, err := ReadTar(t.Context(), &b)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.At(0).ModTime; !got.Equal(tt.want) {
			t.Errorf("%v became %v, want %v", tt.in.UTC(), got, tt.want.UTC())
		}
	}
}

func TestWriteTarStrangeNames(t *testing.T) {
	for _, name := range []string{"\xff\xfe", "a\nb", " ", "a\tb", "-rf", "caf\xe9", "名前", strings.Repeat("ü", 200), "a=b", "%41"} {
		xattrs := map[string]string{"user." + strings.ReplaceAll(name, "=", "-"): "\x00=\n" + name}
		l, err := New([]File{
			{Entry: Entry{Path: name, Type: Regular, ModTime: testTime, Xattrs: xattrs}},
			{Entry: Entry{Path: "link", Type: Symlink, Link: name, ModTime: testTime}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		x, err := WriteTar(t.Context(), &b, l)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		y, err := ReadTar(t.Context(), &b)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if !x.equal(y) {
			t.Errorf("%q: read back as %+v", name, y.entries)
		}
	}
}

func TestWriteTarRefuses(t *testing.T) {
	tests := []struct {
		name  string
		files []File
		want  string
	}{
		{"reserved name", []File{{Entry: Entry{Path: "a/.wh.b", Type: Regular}}}, `"a/.wh.b"`},
		{"reserved directory", []File{{Entry: Entry{Path: ".wh..wh.x", Type: Directory}}}, `".wh..wh.x"`},
		{"xattr with =", []File{{Entry: Entry{Path: "a", Type: Regular, Xattrs: map[string]string{"user.a=b": "c"}}}}, `"user.a=b"`},
		{"device number", []File{{Entry: Entry{Path: "a", Type: CharDevice, Major: 1 << 21}}}, "2097152:0"},
		{"hard link to a directory", []File{{Entry: Entry{Path: "a", Type: Directory}}, {Entry: Entry{Path: "b", Type: Hardlink, Link: "a"}}}, "directory"},
		{"circle of hard links", []File{{Entry: Entry{Path: "a", Type: Hardlink, Link: "b"}}, {Entry: Entry{Path: "b", Type: Hardlink, Link: "a"}}}, "too many hard links"},
		{"content too short", []File{{Entry: Entry{Path: "a", Type: Regular, Size: 5}, Content: Bytes([]byte("1234"))}}, `"a"`},
		{"content too long", []File{{Entry: Entry{Path: "a", Type: Regular, Size: 5}, Content: Bytes([]byte("123456"))}}, `"a"`},
		{"content missing", []File{{Entry: Entry{Path: "a", Type: Regular, Size: 5}, Content: From(Empty(), "x")}}, `"a"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := New(tt.files)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := WriteTar(t.Context(), io.Discard, l); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestWriteTarCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteTar(ctx, io.Discard, virtualLayer(t, "f a 1")); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
