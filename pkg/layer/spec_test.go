package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests describe tars and indexes in lines of text, one for each entry:
//
//	d a/b              directory
//	f a/b hello        regular file with the content "hello"
//	l a/b -> target    symbolic link
//	h a/b => target    hard link
//	c a/b 5 1          character device, b for a block device
//	p a/b              fifo
//	w a/b              whiteout (only in indexes)
//
// In indexes, opaque directories have the letter o in place of d, and attributes that are not the
// usual ones follow: mode=0755, uid=1, gid=1, xattr:NAME=VALUE. In tars these may be given too.

var testTime = time.Unix(1700000000, 0).UTC()

// specHeader parses a line into a tar header and content.
func specHeader(tb testing.TB, line string) (*tar.Header, string) {
	tb.Helper()
	kind, rest, _ := strings.Cut(line, " ")
	h := &tar.Header{ModTime: testTime, Mode: 0o644}
	rest = specAttributes(tb, h, rest)
	var content string
	switch kind {
	case "d":
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, rest+"/", 0o755
	case "f":
		h.Typeflag = tar.TypeReg
		h.Name, content, _ = strings.Cut(rest, " ")
		h.Size = int64(len(content))
	case "l":
		h.Typeflag = tar.TypeSymlink
		h.Name, h.Linkname, _ = strings.Cut(rest, " -> ")
		h.Mode = 0o777
	case "h":
		h.Typeflag = tar.TypeLink
		h.Name, h.Linkname, _ = strings.Cut(rest, " => ")
	case "c", "b":
		h.Typeflag = tar.TypeChar
		if kind == "b" {
			h.Typeflag = tar.TypeBlock
		}
		if _, err := fmt.Sscanf(rest, "%s %d %d", &h.Name, &h.Devmajor, &h.Devminor); err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
	case "p":
		h.Typeflag, h.Name = tar.TypeFifo, rest
	case "g":
		h.Typeflag, h.PAXRecords = tar.TypeXGlobalHeader, map[string]string{"comment": rest}
		h.Mode, h.ModTime = 0, time.Time{}
	default:
		tb.Fatalf("bad line %q", line)
	}
	return h, content
}

// specAttributes takes the attributes off the end of a line.
func specAttributes(tb testing.TB, h *tar.Header, rest string) string {
	words := strings.Split(rest, " ")
	for len(words) > 1 {
		last := words[len(words)-1]
		key, value, ok := strings.Cut(last, "=")
		if name, is := strings.CutPrefix(key, "xattr:"); is {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords[xattrPrefix+name] = value
		} else if n := 0; ok && (key == "uid" || key == "gid") {
			if _, err := fmt.Sscan(value, &n); err != nil {
				tb.Fatal(err)
			}
			if key == "uid" {
				h.Uid = n
			} else {
				h.Gid = n
			}
		} else {
			break
		}
		words = words[:len(words)-1]
	}
	return strings.Join(words, " ")
}

// specTar makes a tar of the lines.
func specTar(tb testing.TB, lines string) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, line := range specLines(lines) {
		h, content := specHeader(tb, line)
		if err := w.WriteHeader(h); err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func specLines(s string) []string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// describe is the way back. Contents come from open, which may be nil.
func describe(tb testing.TB, x *Index, open func(i int) string) string {
	tb.Helper()
	var b strings.Builder
	for i := range x.Len() {
		e := x.At(i)
		mode := uint16(0o644)
		switch e.Type {
		case Regular:
			fmt.Fprintf(&b, "f %s", e.Path)
			if e.Size > 0 && open != nil {
				fmt.Fprintf(&b, " %s", open(i))
			}
		case Directory:
			kind := "d"
			if e.Opaque {
				kind = "o"
			}
			fmt.Fprintf(&b, "%s %s", kind, e.Path)
			mode = 0o755
		case Symlink:
			fmt.Fprintf(&b, "l %s -> %s", e.Path, e.Link)
			mode = 0o777
		case Hardlink:
			fmt.Fprintf(&b, "h %s => %s", e.Path, e.Link)
			mode = e.Mode
		case CharDevice:
			fmt.Fprintf(&b, "c %s %d %d", e.Path, e.Major, e.Minor)
		case BlockDevice:
			fmt.Fprintf(&b, "b %s %d %d", e.Path, e.Major, e.Minor)
		case Fifo:
			fmt.Fprintf(&b, "p %s", e.Path)
		case Whiteout:
			fmt.Fprintf(&b, "w %s", e.Path)
			mode = 0
		}
		if e.Mode != mode {
			fmt.Fprintf(&b, " mode=%#o", e.Mode)
		}
		if e.UID != 0 {
			fmt.Fprintf(&b, " uid=%d", e.UID)
		}
		if e.GID != 0 {
			fmt.Fprintf(&b, " gid=%d", e.GID)
		}
		for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			fmt.Fprintf(&b, " xattr:%s=%s", name, e.Xattrs[name])
		}
		b.WriteByte('\n')
	}
	return strings.ReplaceAll(b.String(), " \n", "\n") // the root has no name
}

// readSpec reads a tar and describes it, contents taken from the places that were found.
func readSpec(tb testing.TB, data []byte) (string, error) {
	tb.Helper()
	x, c, err := readTar(tb.Context(), bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	t := &Tar{index: x, extents: c, r: bytes.NewReader(data)}
	return describe(tb, x, func(i int) string { return contentOf(tb, t, i) }), nil
}

func contentOf(tb testing.TB, t *Tar, i int) string {
	tb.Helper()
	rc, err := t.open(i)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func normal(lines string) string { return strings.Join(append(specLines(lines), ""), "\n") }
