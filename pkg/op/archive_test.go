package op

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// tarOf writes a tar with one entry for each line, in the form of parseFiles. Names are taken
// as they are written.
func tarOf(tb testing.TB, spec string) []byte {
	tb.Helper()
	var headers []*tar.Header
	var bodies []string
	flags := map[layer.Type]byte{
		layer.Regular: tar.TypeReg, layer.Directory: tar.TypeDir, layer.Symlink: tar.TypeSymlink, layer.Hardlink: tar.TypeLink,
		layer.CharDevice: tar.TypeChar, layer.BlockDevice: tar.TypeBlock, layer.Fifo: tar.TypeFifo,
	}
	for _, line := range lines(spec) {
		f := parseFile(tb, line)
		h := &tar.Header{
			Typeflag: flags[f.Type], Name: f.Path, Linkname: f.Link, Mode: int64(f.Mode), Uid: int(f.UID), Gid: int(f.GID),
			ModTime: f.ModTime, Devmajor: int64(f.Major), Devminor: int64(f.Minor), Size: f.Size,
		}
		for name, value := range f.Xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
		body := ""
		if f.Content != nil {
			r, err := f.Content.Open(tb.Context())
			must(tb, err)
			b, err := io.ReadAll(r)
			must(tb, err)
			body = string(b)
		}
		headers, bodies = append(headers, h), append(bodies, body)
	}
	return writeTar(tb, headers, bodies)
}

func writeTar(tb testing.TB, headers []*tar.Header, bodies []string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i, h := range headers {
		must(tb, w.WriteHeader(h))
		_, err := io.WriteString(w, bodies[i])
		must(tb, err)
	}
	must(tb, w.Close())
	return buf.Bytes()
}

// withFile is a tree that has the file at /archive.
func withFile(tb testing.TB, content []byte) *tree.Tree {
	tb.Helper()
	l, err := layer.New([]layer.File{{
		Entry:   layer.Entry{Path: "archive", Type: layer.Regular, Mode: 0o600, ModTime: time.Unix(5, 0).UTC(), Size: int64(len(content))},
		Content: layer.Bytes(content),
	}})
	must(tb, err)
	return tree.New(l)
}

func TestUnpack(t *testing.T) {
	add := func(change ...func(*Copy)) *Copy {
		return dockerfileCopy("/archive", "/new/", append(change, unpackArchives)...)
	}
	cases := []struct {
		name string
		base string
		tar  string
		copy *Copy
		want string
		err  string
	}{
		{
			name: "everything",
			tar: `
				d 700 1:2 10 d/
				f 4755 3:4 11 d/f F {security.capability=caps,user.x=1}
				h 4755 3:4 11 d/h d/f
				l 777 5:6 12 d/l ../../out
				c 660 0:5 13 null 1,3
				b 660 0:6 14 sda 8,1
				p 600 1:1 15 pipe`,
			copy: add(),
			want: `d 755 0:0 9999 new
				d 700 1:2 10 new/d
				f 4755 3:4 11 new/d/f F {security.capability=caps,user.x=1}
				h 4755 3:4 11 new/d/h new/d/f
				l 777 5:6 12 new/d/l ../../out
				c 660 0:5 13 new/null 1,3
				p 600 1:1 15 new/pipe
				b 660 0:6 14 new/sda 8,1`,
		}, {
			name: "destination without a slash is a directory all the same",
			tar:  `f 644 0:0 5 f F`,
			copy: dockerfileCopy("/archive", "/new", unpackArchives),
			want: `d 755 0:0 9999 new
				f 644 0:0 5 new/f F`,
		}, {
			name: "owner applies, also to the destination; mode and time do not apply to the content",
			tar: `d 700 1:2 10 d/
				f 644 3:4 11 d/f F`,
			copy: add(chown(byID(7), byID(8)), chmod(0o600), timestamp(77)),
			want: `d 755 7:8 77 new
				d 700 7:8 10 new/d
				f 644 7:8 11 new/d/f F`,
		}, {
			name: "unlisted parents are root's, whatever the owner",
			tar:  `f 644 3:4 11 x/y/f F`,
			copy: add(chown(byID(7), byID(8))),
			want: `d 755 7:8 9999 new
				d 755 0:0 9999 new/x
				d 755 0:0 9999 new/x/y
				f 644 7:8 11 new/x/y/f F`,
		}, {
			name: "merges with what is there",
			base: `d 755 0:0 1 new
				d 755 0:0 1 new/d {user.old=1}
				f 644 0:0 1 new/d/kept K
				f 644 0:0 1 new/d/f old`,
			tar: `d 700 1:2 10 d {user.new=1}
				f 644 3:4 11 d/f F`,
			copy: add(),
			want: `d 700 1:2 10 new/d {user.new=1,user.old=1}
				f 644 3:4 11 new/d/f F`,
		}, {
			name: "replaces files by directories and directories by files",
			base: `d 755 0:0 1 new/d
				f 644 0:0 1 new/d/f F
				f 644 0:0 1 new/f F`,
			tar: `f 644 0:0 5 d X
				d 755 0:0 5 f
				f 644 0:0 5 f/x X`,
			copy: add(),
			want: `f 644 0:0 5 new/d X
				d 755 0:0 5 new/f
				f 644 0:0 5 new/f/x X`,
		}, {
			name: "the same name twice",
			tar: `f 644 0:0 5 f 1
				f 600 0:0 6 f 2`,
			copy: add(),
			want: `d 755 0:0 9999 new
				f 600 0:0 6 new/f 2`,
		}, {
			name: "the directory itself keeps its metadata under the name of a dot",
			tar:  `d 700 1:2 10 ./`,
			copy: add(),
			want: `d 755 0:0 9999 new`,
		}, {
			name: "but not under other names, as in BuildKit",
			tar:  `d 700 1:2 10 /`,
			copy: add(),
			want: `d 700 1:2 10 new`,
		}, {
			name: "whiteouts are ordinary files",
			base: `f 644 0:0 1 new/f F`,
			tar:  `f 644 0:0 5 .wh.f`,
			copy: add(),
			want: `f 644 0:0 5 new/.wh.f`,
		}, {
			name: "linked to a file of the base: the base's other names are left alone",
			base: `f 644 0:0 1 new/f F
				h 644 0:0 1 out new/f`,
			tar:  `h 600 1:1 5 h f`,
			copy: add(),
			want: `f 600 1:1 5 new/f F
				h 600 1:1 5 new/h new/f`,
		}, {
			name: "linked to a file of the base, and again to the link",
			base: `f 644 0:0 1 new/f F`,
			tar: `h 600 1:1 5 h f
				h 600 2:2 6 i h`,
			copy: add(),
			want: `f 600 2:2 6 new/f F
				h 600 2:2 6 new/h new/f
				h 600 2:2 6 new/i new/f`,
		}, {
			name: "linked to a link",
			tar: `l 777 1:1 5 l nowhere
				h 600 2:2 6 h l`,
			copy: add(),
			want: `d 755 0:0 9999 new
				l 777 2:2 5 new/h nowhere
				h 777 2:2 5 new/l new/h`,
		}, {
			name: "attributes that no kernel would set are left out",
			tar: `l 777 0:0 5 l x {user.x=1,trusted.x=2}
				f 644 0:0 5 f F {bogus=1,user.overlay.opaque=y,trusted.overlay.redirect=/etc}`,
			copy: add(),
			want: `d 755 0:0 9999 new
				f 644 0:0 5 new/f F
				l 777 0:0 5 new/l x {trusted.x=2}`,
		}, {
			name: "time of a directory that was replaced by a link goes to its target, as in BuildKit",
			tar: `d 755 0:0 5 t
				d 755 0:0 6 d
				l 777 0:0 7 d t`,
			copy: add(),
			want: `d 755 0:0 9999 new
				l 777 0:0 7 new/d t
				d 755 0:0 6 new/t`,
		}, {
			name: "destination is a file", base: `f 644 0:0 1 new x`,
			tar:  `f 644 0:0 5 f F`,
			copy: add(),
			err:  "not a directory",
		}, {
			name: "file below a file",
			tar: `f 644 0:0 5 f F
				f 644 0:0 5 f/x X`,
			copy: add(),
			err:  `entry "f/x": resolve f/x: not a directory`,
		}, {
			name: "file instead of the destination",
			tar:  `f 644 0:0 5 /.. F`,
			copy: add(),
			err:  "would replace the destination",
		}, {
			name: "linked to nothing",
			tar:  `h 644 0:0 5 h gone`,
			copy: add(),
			err:  "no such file or directory",
		}, {
			name: "linked to itself",
			base: `f 644 0:0 1 new/h H`,
			tar:  `h 644 0:0 5 h h`,
			copy: add(),
			err:  "no such file or directory",
		}, {
			name: "linked to a directory",
			tar: `d 755 0:0 5 d
				h 644 0:0 5 h d`,
			copy: add(),
			err:  "operation not permitted",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := runCopy(t, specTree(t, c.base), withFile(t, tarOf(t, c.tar)), c.copy)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, lines(c.want), formatLayer(t, got.Top()))
		})
	}
}

// Whatever names and links an archive has, it changes nothing but its destination.
func TestUnpackStaysInside(t *testing.T) {
	const base = `
		d 755 0:0 1 etc
		f 644 0:0 1 etc/passwd root
		d 755 0:0 1 new
		l 777 0:0 1 new/up ..
		l 777 0:0 1 new/etc /etc`
	cases := []struct{ name, tar, want string }{
		{
			"dots", `f 644 0:0 5 ../../../etc/passwd X`,
			`d 755 0:0 9999 new/etc/x`,
		}, {
			"absolute", `f 644 0:0 5 /x X`,
			`f 644 0:0 5 new/x X`,
		}, {
			"through a link of the base", `f 644 0:0 5 up/up/x X`,
			`f 644 0:0 5 new/x X`,
		}, {
			"through a link of the archive", `
				l 777 0:0 5 a ../../..
				f 644 0:0 5 a/x X`,
			`l 777 0:0 5 new/a ../../..
			f 644 0:0 5 new/x X`,
		}, {
			"through two links", `
				l 777 0:0 5 a /
				l 777 0:0 5 b a/../a
				f 644 0:0 5 b/x X`,
			`l 777 0:0 5 new/a /
			l 777 0:0 5 new/b a/../a
			f 644 0:0 5 new/x X`,
		}, {
			"a link is replaced, not written through", `
				l 777 0:0 5 a /etc/passwd
				f 644 0:0 5 a X`,
			`f 644 0:0 5 new/a X`,
		}, {
			"a directory through a link", `
				l 777 0:0 5 a ../x
				d 700 1:1 5 x
				d 711 2:2 6 a/y`,
			`l 777 0:0 5 new/a ../x
			d 700 1:1 5 new/x
			d 711 2:2 6 new/x/y`,
		}, {
			"a hard link to the outside is one to the inside", `
				f 644 0:0 5 passwd X
				h 644 0:0 5 h ../../passwd`,
			`f 644 0:0 5 new/h X
			h 644 0:0 5 new/passwd new/h`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := runCopy(t, specTree(t, base), withFile(t, tarOf(t, c.tar)), dockerfileCopy("/archive", "/new", unpackArchives))
			if c.name == "dots" {
				// The link /new/etc leads to a directory that does not exist inside.
				if err == nil {
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, lines(c.want), formatLayer(t, got.Top()))
		})
	}
}

// Headers that no tar program writes.
func TestUnpackOddHeaders(t *testing.T) {
	old := tar.Header{Typeflag: tar.TypeReg, Name: "f", ModTime: time.Unix(-5, 0), Format: tar.FormatPAX}
	for _, c := range []struct {
		name      string
		header    tar.Header
		want, err string
	}{
		{name: "before 1970", header: old, want: "f 0 0:0 0 new/f"},
		{name: "owner too large", header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1<<32 - 1}, err: "owner 4294967295:0 is out of range"},
		{name: "owner negative", header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Gid: -1}, err: "owner 0:-1 is out of range"},
		{name: "device too large", header: tar.Header{Typeflag: tar.TypeChar, Name: "f", Devmajor: 1 << 40}, err: "is out of range"},
		{name: "link to nothing", header: tar.Header{Typeflag: tar.TypeSymlink, Name: "f"}, err: "symbolic link to nothing"},
		{name: "unknown type", header: tar.Header{Typeflag: 'V', Name: "f"}, err: "unhandled tar header type 'V'"},
		{name: "below a link to nowhere", header: tar.Header{Typeflag: tar.TypeReg, Name: "dangling/f"}, err: "no such file or directory"},
		{name: "deep below a link to nowhere", header: tar.Header{Typeflag: tar.TypeReg, Name: "dangling/x/f"}, err: "file exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := withFile(t, writeTar(t, []*tar.Header{&c.header}, []string{""}))
			got, err := runCopy(t, specTree(t, "l 777 0:0 1 new/dangling nowhere"), src, dockerfileCopy("/archive", "/new", unpackArchives))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want %q", err, c.err)
				}
				return
			}
			must(t, err)
			checkLines(t, lines(c.want), formatLayer(t, got.Top()))
		})
	}
}

func TestUnpackFormats(t *testing.T) {
	random := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(random)
	plain := writeTar(t, []*tar.Header{
		{Typeflag: tar.TypeReg, Name: "f", Size: 1},
		{Typeflag: tar.TypeReg, Name: "random", Size: int64(len(random))},
	}, []string{"F", string(random)})
	compress := func(open func(io.Writer) (io.WriteCloser, error)) []byte {
		var buf bytes.Buffer
		w, err := open(&buf)
		must(t, err)
		_, err = w.Write(plain)
		must(t, err)
		must(t, w.Close())
		return buf.Bytes()
	}
	gz := compress(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	const unpacked, copied = "new/f", "new/archive"
	cases := []struct {
		name string
		file []byte
		want string
	}{
		{"tar", plain, unpacked},
		{"gzip", gz, unpacked},
		{"zstd", compress(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), unpacked},
		{"xz", compress(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }), unpacked},
		{"bzip2", bzip2Tar(t), unpacked},
		{"text", []byte("just text"), copied},
		{"empty", nil, copied},
		{"empty tar", make([]byte, 1024), copied},
		{"gzip of text", compressedText(t), copied},
		{"cut gzip header", gz[:8], copied},
		{"zip", []byte("PK\x03\x04 and so on"), copied},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := runCopy(t, nil, withFile(t, c.file), dockerfileCopy("/archive", "/new/", unpackArchives))
			must(t, err)
			x, err := got.Top().Index(t.Context())
			must(t, err)
			if _, err := x.Lookup(c.want); err != nil {
				t.Errorf("%v in %q", err, formatLayer(t, got.Top()))
			}
			if c.want == unpacked && readLayer(t, got.Top(), unpacked) != "F" {
				t.Error("content differs")
			}
		})
	}

	t.Run("not without being asked", func(t *testing.T) {
		got, err := runCopy(t, nil, withFile(t, gz), dockerfileCopy("/archive", "/new/"))
		must(t, err)
		if readLayer(t, got.Top(), copied) != string(gz) {
			t.Error("content differs")
		}
	})
	for name, cut := range map[string][]byte{"cut gzip": gz[:len(gz)/2], "cut tar": plain[:len(plain)/2]} {
		t.Run(name, func(t *testing.T) {
			got, err := runCopy(t, nil, withFile(t, cut), dockerfileCopy("/archive", "/new/", unpackArchives))
			if err == nil {
				x, err := got.Top().Index(t.Context())
				must(t, err)
				t.Errorf("no error, but %d entries", x.Len())
				for e := range x.All() {
					t.Log(e.Path, e.Size)
				}
			}
		})
	}
}

// bzip2Tar is a tar with the file "f" that holds "F"; nothing here can write bzip2.
func bzip2Tar(tb testing.TB) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(bzip2TarBase64)
	must(tb, err)
	return b
}

func compressedText(tb testing.TB) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := io.WriteString(w, strings.Repeat("just text ", 200))
	must(tb, err)
	must(tb, w.Close())
	return buf.Bytes()
}

func TestUnpackSources(t *testing.T) {
	archive := tarOf(t, `f 644 0:0 5 f F`)
	l, err := layer.New([]layer.File{
		{Entry: layer.Entry{Path: "d/archive", Type: layer.Regular, Size: int64(len(archive))}, Content: layer.Bytes(archive)},
		{Entry: layer.Entry{Path: "link", Type: layer.Symlink, Link: "d/archive"}},
		{Entry: layer.Entry{Path: "text", Type: layer.Regular, Size: 1, ModTime: time.Unix(7, 0)}, Content: layer.Bytes([]byte("T"))},
	})
	must(t, err)
	src := tree.New(l)
	for _, c := range []struct {
		name string
		copy *Copy
		want string
	}{
		{"a link to an archive, even if links are not followed", dockerfileCopy("/link", "/new", unpackArchives, noFollow), `
			d 755 0:0 9999 new
			f 644 0:0 5 new/f F`},
		{"each match by itself", dockerfileCopy("/[lt]*", "/new/", unpackArchives), `
			d 755 0:0 9999 new
			f 644 0:0 5 new/f F
			f 0 0:0 7 new/text T`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := runCopy(t, nil, src, c.copy)
			must(t, err)
			checkLines(t, lines(c.want), formatLayer(t, got.Top()))
		})
	}
	t.Run("archives in a directory are copied", func(t *testing.T) {
		got, err := runCopy(t, nil, src, dockerfileCopy("/d", "/new/", unpackArchives))
		must(t, err)
		if readLayer(t, got.Top(), "new/archive") != string(archive) {
			t.Error("content differs")
		}
	})
}

// A file that cannot be read is an error, not "no archive".
func TestUnpackReadError(t *testing.T) {
	src := withFile(t, tarOf(t, `f 644 0:0 5 f F`))
	_, err := runCopy(t, nil, tree.New(noContent{src.Top()}), dockerfileCopy("/archive", "/new", unpackArchives))
	if err == nil || !strings.Contains(err.Error(), "content was read") {
		t.Errorf("error is %v", err)
	}
	broken := tree.New(brokenContent{src.Top()})
	if _, err := runCopy(t, nil, broken, dockerfileCopy("/archive", "/new", unpackArchives)); !errors.Is(err, errBroken) {
		t.Errorf("error is %v", err)
	}
}

var errBroken = errors.New("the connection broke")

// brokenContent is a layer whose content breaks off.
type brokenContent struct{ layer.Layer }

func (l brokenContent) Open(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("\x1f\x8b\x08"), brokenReader{})), nil
}

func (l brokenContent) OpenAt(ctx context.Context, _ int) (io.ReadCloser, error) {
	return l.Open(ctx, "")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

const bzip2TarBase64 = "" +
	"QlpoOTFBWSZTWTLEmbcAAC5fgOkAQABnAAEAAADhAB4ACAggAFRWgaBpo02oJEkD1HogH3OpCKyQieuJLVtoIYOoFDEYhEZ3eJdq" +
	"VEYP3wAMi+LuSKcKEgZYkzbg"
