package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadTar(t *testing.T) {
	tests := []struct {
		name      string
		tar, want string
	}{
		{"empty", ``, ``},
		{"all types", `
			d dir
			f dir/file hello
			f dir/none
			l dir/link -> ../elsewhere
			h dir/more => dir/file
			c dev/null 1 3
			b dev/sda 8 0
			p run/fifo
		`, `
			c dev/null 1 3
			b dev/sda 8 0
			d dir
			f dir/file hello
			l dir/link -> ../elsewhere
			h dir/more => dir/file
			f dir/none
			p run/fifo
		`},
		{"attributes", `
			f a x uid=1000 gid=2000 xattr:user.k=v xattr:security.capability=c
			d d uid=3000000000 gid=4294967295 xattr:user.k=v
			l l -> t uid=7 xattr:trusted.k=v
		`, `
			f a x uid=1000 gid=2000 xattr:security.capability=c xattr:user.k=v
			d d uid=3000000000 gid=4294967295 xattr:user.k=v
			l l -> t uid=7 xattr:trusted.k=v
		`},
		{"tree order", `
			f a.b 1
			f a-b 2
			f a/z 3
			d a
			f a/b/c 4
			f a/b.c 5
		`, `
			d a
			f a/b/c 4
			f a/b.c 5
			f a/z 3
			f a-b 2
			f a.b 1
		`},
		{"leading dots and slashes", `
			d ./
			f ./a 1
			f /b 2
			f //c//d 3
			f e/./f 4
			f g/../h 5
			f ... 6
			f ..i 7
		`, `
			d
			f ... 6
			f ..i 7
			f a 1
			f b 2
			f c/d 3
			f e/f 4
			f h 5
		`},
		{"long and strange names", `
			f ` + strings.Repeat("long/", 60) + `name 1
			f Überfluß 2
			l link -> ` + strings.Repeat("target/", 60) + `
		`, `
			l link -> ` + strings.Repeat("target/", 60) + `
			f ` + strings.Repeat("long/", 60) + `name 1
			f Überfluß 2
		`},
		{"global header means nothing", `
			g commit
			f a 1
		`, `
			f a 1
		`},

		// Whiteouts.
		{"whiteout", `
			f a/.wh.b
			f .wh.c
		`, `
			w a/b
			w c
		`},
		{"whiteout of any type and content", `
			d a/.wh.b
			l a/.wh.c -> x
			f a/.wh.d content
		`, `
			w a/b
			w a/c
			w a/d
		`},
		{"whiteout and new directory", `
			f .wh.a
			d a uid=1
			f a/x 1
		`, `
			o a uid=1
			f a/x 1
		`},
		{"new directory and whiteout, which is about lower layers only", `
			d a
			f a/x 1
			f .wh.a
		`, `
			o a
			f a/x 1
		`},
		{"whiteout and new file", `
			f .wh.a
			f a 1
		`, `
			f a 1
		`},
		{"new file and whiteout", `
			f a 1
			f .wh.a
		`, `
			f a 1
		`},
		{"whiteout and implied directory", `
			f .wh.a
			f a/b/x 1
		`, `
			o a
			f a/b/x 1
		`},
		{"opaque", `
			d a uid=1
			f a/.wh..wh..opq
			f a/x 1
		`, `
			o a uid=1
			f a/x 1
		`},
		{"opaque marker last", `
			d a
			f a/x 1
			f a/.wh..wh..opq
		`, `
			o a
			f a/x 1
		`},
		{"opaque implied", `
			f a/.wh..wh..opq
			f a/x 1
		`, `
			o a
			f a/x 1
		`},
		{"opaque root", `
			f .wh..wh..opq
			f a 1
		`, `
			o
			f a 1
		`},
		{"opaque with whiteout inside", `
			d a
			f a/.wh..wh..opq
			f a/.wh.b
		`, `
			o a
			w a/b
		`},
		{"metadata of aufs", `
			f .wh..wh.aufs
			d .wh..wh.orph
			f .wh..wh.orph/x y
			d a/.wh..wh.plnk
			f a/.wh..wh.plnk/1 x
			f b 1
		`, `
			f b 1
		`},
		{"files of aufs with several names", `
			d .wh..wh.plnk
			f .wh..wh.plnk/100.1 content uid=5
			h b => .wh..wh.plnk/100.1
			h a => .wh..wh.plnk/100.1
		`, `
			f a content uid=5
			h b => a uid=5
		`},

		// Duplicates: what unpacking in order would give.
		{"last file wins", `
			f a 1
			f a 22 uid=1
		`, `
			f a 22 uid=1
		`},
		{"directories merge", `
			d a uid=1 xattr:user.k=v
			f a/x 1
			d a uid=2
			f a/y 2
		`, `
			d a uid=2
			f a/x 1
			f a/y 2
		`},
		{"file replaces directory", `
			d a
			d a/b
			f a/b/c 1
			f a 2
			f ab 3
		`, `
			f a 2
			f ab 3
		`},
		{"file replaces implied directory", `
			f a/b/c 1
			f a 2
		`, `
			f a 2
		`},
		{"directory replaces file, and what the file hid stays hidden", `
			f a 1
			d a
			f a/x 2
		`, `
			o a
			f a/x 2
		`},
		{"directory replaces symbolic link", `
			l a -> b
			d a
			f a/x 2
		`, `
			o a
			f a/x 2
		`},
		{"directory, file, directory", `
			d a
			f a/old 1
			f a 2
			d a
			f a/new 3
		`, `
			o a
			f a/new 3
		`},
		{"replaced opaque directory", `
			d a
			f a/.wh..wh..opq
			f a 2
		`, `
			f a 2
		`},

		// Hard links.
		{"to an earlier file", `
			f b 1 uid=1
			h c => b
		`, `
			f b 1 uid=1
			h c => b uid=1
		`},
		{"the first name in tree order has the content", `
			f b 1 xattr:user.k=v
			h c => b
			h a => /./b
		`, `
			f a 1 xattr:user.k=v
			h b => a
			h c => a
		`},
		{"to a link to a file", `
			f a 1
			h b => a
			h c => b
		`, `
			f a 1
			h b => a
			h c => a
		`},
		{"to a later file", `
			h b => z
			f z 1
		`, `
			f b 1
			h z => b
		`},
		{"to a later link to an even later file", `
			h a => b
			h b => c
			f c 1
		`, `
			f a 1
			h b => a
			h c => a
		`},
		{"to a lower layer's file", `
			h a => usr/lower
			h b => a
			h c => d
			h d => other
		`, `
			h a => usr/lower
			h b => usr/lower
			h c => other
			h d => other
		`},
		{"to a symbolic link", `
			l b -> target
			h a => b
		`, `
			l a -> target
			h b => a
		`},
		{"to a device", `
			c a 1 3 uid=1
			h b => a
		`, `
			c a 1 3 uid=1
			h b => a uid=1
		`},
		{"keeps an inode that has lost its own name", `
			f a old
			h b => a
			h c => b
			f a new
		`, `
			f a new
			f b old
			h c => b
		`},
		{"keeps an inode whose directory is gone", `
			f d/a old
			h b => d/a
			f d file
		`, `
			f b old
			f d file
		`},
		{"takes the place of its inode's own name", `
			f a 1
			h b => a
			h a => b
		`, `
			f a 1
			h b => a
		`},
		{"replaced by another file", `
			f a 1
			h b => a
			f b 2
		`, `
			f a 1
			f b 2
		`},
		{"header of the link does not matter", `
			f a 1 uid=1
			h b => a uid=2 xattr:user.k=v
		`, `
			f a 1 uid=1
			h b => a uid=1
		`},

		// Symbolic links in the way.
		{"below a relative link", `
			d usr/lib
			l lib -> usr/lib
			f lib/x 1
		`, `
			l lib -> usr/lib
			d usr/lib
			f usr/lib/x 1
		`},
		{"below an absolute link, which starts at the root", `
			l var/run -> /run
			f var/run/pid/x 1
		`, `
			f run/pid/x 1
			l var/run -> /run
		`},
		{"below a link to a link", `
			l a -> b/../c
			l c -> ./d
			f a/x 1
			f a/.wh.y
			h a/z => a/x
		`, `
			l a -> b/../c
			l c -> ./d
			f d/x 1
			w d/y
			h d/z => d/x
		`},
		{"opaque marker below a link", `
			l a -> b
			f a/.wh..wh..opq
		`, `
			l a -> b
			o b
		`},
		{"link that comes later than what is below its target", `
			f a/x 1
			l b -> a
			f b/y 2
		`, `
			f a/x 1
			f a/y 2
			l b -> a
		`},
		{"link that replaces what was below its name", `
			f a/x 1
			l a -> b
			f a/y 2
		`, `
			l a -> b
			f b/y 2
		`},
		{"a link itself may point anywhere", `
			l a -> ../../../etc/passwd
			l b -> /etc/passwd
		`, `
			l a -> ../../../etc/passwd
			l b -> /etc/passwd
		`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readSpec(t, specTar(t, tt.tar))
			if err != nil {
				t.Fatal(err)
			}
			if want := normal(tt.want); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestReadTarRefuses(t *testing.T) {
	long := strings.Repeat("x/", maxPath/2) + "xx"
	tests := []struct {
		name, tar string
		entry     string // that the error names
		want      string // in the error
	}{
		{"climbing", `f ../a 1`, "../a", "climbs out of the root"},
		{"climbing further down", `f a/../../b 1`, "a/../../b", "climbs out of the root"},
		{"climbing from a leading slash", `f /../a 1`, "/../a", "climbs out of the root"},
		{"climbing directory", `d ..`, "../", "climbs out of the root"},
		{"climbing whiteout", `f ../.wh.a`, "../.wh.a", "climbs out of the root"},
		{"hard link that climbs", `h a => ../../etc/shadow`, "a", "climbs out of the root"},
		{"hard link to the root", `h a => /`, "a", "root"},
		{"hard link to itself", `h a => ./a`, "a", "hard link to itself"},
		{"hard link over its target", "f a 1\nh a => a", "a", "hard link to itself"},
		{"hard link over its target's directory", "f a/b 1\nh a => a/b", "a", "hard link to itself"},
		{"hard link to a directory", "d a\nh b => a", "b", "directory"},
		{"hard link to an implied directory", "f a/x 1\nh b => a", "b", "directory"},
		{"hard link to a later directory", "h b => a\nd a", "", `"b" is a hard link to the directory "a"`},
		{"circle of hard links", "h a => b\nh b => a", "b", "hard link to itself"},
		{"circle of three hard links", "h a => b\nh b => c\nh c => a", "c", "hard link to itself"},
		{"below a link that climbs", "l a -> ..\nf a/x 1", "a/x", "climbs out through a symlink"},
		{"below a link that climbs far", "l a -> ../../../../tmp\nf a/x 1", "a/x", "climbs out through a symlink"},
		{"below an absolute link that climbs", "l a -> /../tmp\nf a/x 1", "a/x", "climbs out through a symlink"},
		{"below two links that climb together", "l a/b -> ..\nl c -> a/b/..\nf c/x 1", "c/x", "climbs out through a symlink"},
		{"directory below a link that climbs", "l a -> ..\nd a/x", "a/x/", "climbs out through a symlink"},
		{"whiteout below a link that climbs", "l a -> ..\nf a/.wh.x", "a/.wh.x", "climbs out through a symlink"},
		{"opaque marker below a link that climbs", "l a -> ..\nf a/.wh..wh..opq", "a/.wh..wh..opq", "climbs out through a symlink"},
		{"hard link through a link that climbs", "l a -> ..\nh b => a/x", "b", "climbs out through a symlink"},
		{"below a hard link to a link that climbs", "l a -> ..\nh b => a\nf b/x 1", "b/x", "climbs out through a symlink"},
		{"below a circle of links", "l a -> b\nl b -> a\nf a/x 1", "a/x", "too many symbolic links"},
		{"below a file", "f a 1\nf a/b 2", "a/b", `below what is no directory: "a"`},
		{"below a device", "c a 1 3\nf a/b/c 2", "a/b/c", `below what is no directory: "a"`},
		{"opaque marker in a file", "f a 1\nf a/.wh..wh..opq", "a/.wh..wh..opq", "no directory"},
		{"root as a file", `f . x`, ".", "no directory"},
		{"root as a link", `l / -> x`, "/", "no directory"},
		{"whiteout of nothing", `f a/.wh.`, "a/.wh.", "no valid whiteout"},
		{"whiteout of the directory", `f a/.wh..`, "a/.wh..", "no valid whiteout"},
		{"whiteout of the parent", `f a/.wh...`, "a/.wh...", "no valid whiteout"},
		{"below a whiteout", `f a/.wh.b/c 1`, "a/.wh.b/c", "no valid whiteout"},
		{"a link to what looks like a whiteout", "l a -> .wh.b\nf a/c 1", "a/c", "no valid whiteout"},
		{"a link into the metadata", "l a -> .wh..wh.plnk\nf a/c 1", "a/c", "no valid whiteout"},
		{"a path that is too long", `f ` + long + ` 1`, long, "longer than 4095 bytes"},
		{"a link target that is too long", `l a -> ` + long, "a", "longer than 4095 bytes"},
		{"a path that is too long after links", "l a -> " + long[:3000] + "\nf a/" + long[:3000] + "f 1", "a/" + long[:3000] + "f", "longer than 4095 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadTar(t.Context(), bytes.NewReader(specTar(t, tt.tar)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v, want one that says %q", err, tt.want)
			}
			var te *TarError
			if tt.entry != "" && (!errors.As(err, &te) || te.Name != tt.entry) {
				t.Errorf("error %v does not name the entry %q", err, tt.entry)
			}
		})
	}
}

// TestReadTarRefusesHeaders is about headers that archive/tar does not write.
func TestReadTarRefusesHeaders(t *testing.T) {
	tests := []struct {
		name string
		edit func(block []byte)
		want string
	}{
		{"unknown type", func(b []byte) { b[156] = 'Q' }, "unknown type"},
		{"size beyond all bounds", func(b []byte) { copy(b[124:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") }, "is damaged"},
		{"negative size", func(b []byte) { copy(b[124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }, "invalid tar header"},
		{"negative owner", func(b []byte) { copy(b[108:], "\xff\xff\xff\xff\xff\xff\xff\xff") }, "owner number -1"},
		{"owner beyond 32 bits", func(b []byte) { copy(b[108:], "\x80\x00\x00\x01\x00\x00\x00\x00") }, "owner number 4294967296"},
		{"symbolic link to nothing", func(b []byte) { b[156] = '2' }, "symbolic link to nothing"},
		{"hard link to nothing", func(b []byte) { b[156] = '1' }, "hard link to the root"},
		{"wrong checksum", func(b []byte) { b[0] ^= 1; b[148] ^= 1 }, "invalid tar header"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := specTar(t, "f a content")
			tt.edit(data[:512])
			if tt.name != "wrong checksum" {
				setChecksum(data[:512])
			}
			_, err := ReadTar(t.Context(), bytes.NewReader(data))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func setChecksum(block []byte) {
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], []byte{'0', '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
}

func TestReadTarTruncated(t *testing.T) {
	whole := specTar(t, "d a\nf a/b "+strings.Repeat("x", 2000)+"\nf c 1 xattr:user.k=v")
	// Ends of entries are where a tar without its closing blocks, which some
	// tools leave out, would end too.
	ends := []int{0, 512, 512 + 512 + 2048, len(whole) - 1024, len(whole) - 512, len(whole)}
	for n := range len(whole) + 1 {
		_, err := ReadTar(t.Context(), bytes.NewReader(whole[:n]))
		if slices.Contains(ends, n) != (err == nil) {
			t.Errorf("cut after %d of %d bytes: error %v", n, len(whole), err)
		}
	}
}

func TestReadTarSparse(t *testing.T) {
	// 3 MiB of which 4 bytes at 1 MiB are stored: the old GNU format.
	data := oldSparse("disk", 3<<20, [][2]int64{{1 << 20, 4}, {3 << 20, 0}}, "data")
	data = append(data, specTar(t, "f after 1")...)
	x, c, err := readTar(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3<<20)
	copy(want[1<<20:], "data")
	i, ok := x.Find("disk")
	if !ok || x.At(i).Size != 3<<20 || x.At(i).Sum != sha256.Sum256(want) {
		t.Fatalf("entry is %+v", x.At(i))
	}
	tarFile := &Tar{index: x, extents: c, r: bytes.NewReader(data)}
	if _, contiguous := tarFile.Extent(i); contiguous {
		t.Error("sparse file has an extent")
	}
	if got := contentOf(t, tarFile, i); got != string(want) {
		t.Error("content differs")
	}
	after, ok := x.Find("after")
	if !ok {
		t.Fatal("the entry after the sparse one is missing")
	}
	if got := contentOf(t, tarFile, after); got != "1" {
		t.Errorf("content after the sparse file is %q", got)
	}
}

func TestReadTarRefusesHoles(t *testing.T) {
	_, err := ReadTar(t.Context(), bytes.NewReader(oldSparse("disk", 1<<40, [][2]int64{{1 << 40, 0}}, "")))
	if !errors.Is(err, errTooSparse) {
		t.Errorf("a hole of a terabyte: %v", err)
	}
	// Smaller ones may take minutes to read; that ends when the context does.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = ReadTar(ctx, bytes.NewReader(oldSparse("disk", 1<<33, [][2]int64{{1 << 33, 0}}, "")))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hole of 8 GiB until the deadline: %v", err)
	}
}

// oldSparse makes an entry in the sparse format of old GNU tars, with at most four fragments.
func oldSparse(name string, size int64, fragments [][2]int64, content string) []byte {
	block := make([]byte, 512)
	octal := func(at, digits int, n int64) {
		for i := digits - 1; i >= 0; i-- {
			block[at+i] = '0' + byte(n&7)
			n >>= 3
		}
	}
	copy(block, name)
	octal(100, 7, 0o644)
	octal(108, 7, 0)
	octal(116, 7, 0)
	octal(124, 11, int64(len(content)))
	octal(136, 11, 0)
	block[156] = 'S'
	copy(block[257:], "ustar  \x00")
	for i, f := range fragments {
		binaryNumber(block[386+24*i:][:12], f[0])
		binaryNumber(block[386+24*i+12:][:12], f[1])
	}
	binaryNumber(block[483:][:12], size)
	setChecksum(block)
	return append(block, append([]byte(content), make([]byte, (512-len(content)%512)%512)...)...)
}

// binaryNumber writes n in the base-256 form of GNU tar.
func binaryNumber(field []byte, n int64) {
	field[0] = 0x80
	for i := len(field) - 1; i > 0; i-- {
		field[i] = byte(n)
		n >>= 8
	}
}

func TestReadTarReadsToTheEnd(t *testing.T) {
	data := append(specTar(t, "f a 1"), make([]byte, 1<<20)...)
	r := bytes.NewReader(data)
	if _, err := ReadTar(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if r.Len() != 0 {
		t.Errorf("%d bytes were left unread", r.Len())
	}
}

func TestReadTarReportsReadErrors(t *testing.T) {
	broken := errors.New("connection reset")
	data := specTar(t, "f a "+strings.Repeat("x", 5000))
	for _, n := range []int{0, 100, 512, 1000, len(data)} {
		r := io.MultiReader(bytes.NewReader(data[:n]), &errorReader{broken})
		if _, err := ReadTar(t.Context(), r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: error %v hides %v", n, err, broken)
		}
	}
}

type errorReader struct{ err error }

func (r *errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestReadTarModes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o104755, Format: tar.FormatPAX, ModTime: time.Unix(1, 500), Uname: "root"}
	if err := errors.Join(w.WriteHeader(h), w.Close()); err != nil {
		t.Fatal(err)
	}
	x, err := ReadTar(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	if e := x.At(0); e.Mode != 0o4755 || !e.ModTime.Equal(time.Unix(1, 500)) {
		t.Errorf("mode %#o, time %v", e.Mode, e.ModTime)
	}
}
