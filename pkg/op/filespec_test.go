package op

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Filesystems are written as text in these tests, one file a line:
//
//	TYPE MODE UID:GID MTIME PATH [REST] [{XATTR=VALUE,...}]
//
// TYPE is d(irectory), o(paque directory), f(ile, REST is the content), l(ink, REST is the
// target), h(ard link, REST is the target), c(har device, REST is major,minor), b(lock
// device), p(ipe) or w(hiteout). MTIME is in seconds. Leading white space is ignored.

const typeLetters = " fdlhcbpw"

func parseFiles(tb testing.TB, spec string) []layer.File {
	tb.Helper()
	var files []layer.File
	for line := range strings.Lines(spec) {
		if line = strings.TrimSpace(line); line != "" {
			files = append(files, parseFile(tb, line))
		}
	}
	return files
}

func parseFile(tb testing.TB, line string) layer.File {
	tb.Helper()
	text, attrs, _ := strings.Cut(line, " {")
	fields := strings.SplitN(text, " ", 6)
	if len(fields) < 5 {
		tb.Fatalf("too few fields: %q", line)
	}
	var f layer.File
	number := func(s string, base int) int64 {
		n, err := strconv.ParseInt(s, base, 64)
		if err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
		return n
	}
	f.Mode = uint16(number(fields[1], 8))
	uid, gid, _ := strings.Cut(fields[2], ":")
	f.UID, f.GID = uint32(number(uid, 10)), uint32(number(gid, 10))
	f.ModTime = time.Unix(number(fields[3], 10), 0).UTC()
	f.Path = fields[4]
	rest := ""
	if len(fields) == 6 {
		rest = fields[5]
	}
	if attrs != "" {
		f.Xattrs = map[string]string{}
		for a := range strings.SplitSeq(strings.TrimSuffix(attrs, "}"), ",") {
			name, value, _ := strings.Cut(a, "=")
			f.Xattrs[name] = value
		}
	}
	if fields[0] == "o" {
		fields[0], f.Opaque = "d", true
	}
	f.Type = layer.Type(strings.Index(typeLetters, fields[0]))
	switch f.Type {
	case layer.Regular:
		f.Size, f.Content = int64(len(rest)), layer.Bytes([]byte(rest))
	case layer.Symlink, layer.Hardlink:
		f.Link = rest
	case layer.CharDevice, layer.BlockDevice:
		major, minor, _ := strings.Cut(rest, ",")
		f.Major, f.Minor = uint32(number(major, 10)), uint32(number(minor, 10))
	}
	return f
}

// formatEntry writes an entry as text. content is that of a Regular.
func formatEntry(e *layer.Entry, content string) string {
	letter := string(typeLetters[e.Type])
	if e.Opaque {
		letter = "o"
	}
	s := fmt.Sprintf("%s %o %d:%d %d %s", letter, e.Mode, e.UID, e.GID, e.ModTime.Unix(), e.Path)
	switch e.Type {
	case layer.Regular:
		s += " " + content
	case layer.Symlink, layer.Hardlink:
		s += " " + e.Link
	case layer.CharDevice, layer.BlockDevice:
		s += fmt.Sprintf(" %d,%d", e.Major, e.Minor)
	case layer.Whiteout:
		s = "w 0 0:0 0 " + e.Path
	}
	if len(e.Xattrs) > 0 {
		attrs := make([]string, 0, len(e.Xattrs))
		for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			attrs = append(attrs, name+"="+e.Xattrs[name])
		}
		s += " {" + strings.Join(attrs, ",") + "}"
	}
	return strings.TrimRight(s, " ")
}

func readLayer(tb testing.TB, l layer.Layer, p string) string {
	tb.Helper()
	r, err := l.Open(tb.Context(), p)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// formatLayer lists a layer.
func formatLayer(tb testing.TB, l layer.Layer) []string {
	tb.Helper()
	x, err := l.Index(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var lines []string
	for e := range x.All() {
		content := ""
		if e.Type == layer.Regular {
			content = readLayer(tb, l, e.Path)
		}
		lines = append(lines, formatEntry(e, content))
	}
	return lines
}

// specTree makes a tree of one layer for each text.
func specTree(tb testing.TB, specs ...string) *tree.Tree {
	tb.Helper()
	var t *tree.Tree
	for _, spec := range specs {
		if spec == "" {
			continue
		}
		l, err := layer.New(parseFiles(tb, spec))
		if err != nil {
			tb.Fatal(err)
		}
		t = t.Push(l)
	}
	return t
}

// testNow is the clock of the builds in these tests.
var testNow = time.Unix(9999, 0)

func testEnv(tb testing.TB) *Env {
	tb.Helper()
	dir, err := state.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dir.Close() })
	return &Env{State: dir, Now: testNow}
}

// input makes the tree an input whose key is the given one.
func input(t *tree.Tree, key byte) Input {
	return Input{Tree: t, Key: func(context.Context) (Key, error) { return Key{key}, nil }}
}

// lines splits a text into its lines, trimmed.
func lines(spec string) []string {
	var out []string
	for line := range strings.Lines(spec) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// diffLines returns what is only in want ("-") and only in got ("+").
func diffLines(want, got []string) string {
	var b strings.Builder
	for _, l := range want {
		if !slices.Contains(got, l) {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	return b.String()
}

// checkLines compares two listings.
func checkLines(tb testing.TB, want, got []string) {
	tb.Helper()
	if !slices.Equal(want, got) {
		tb.Errorf("listing differs (- is wanted, + is there):\n%s", cmp.Or(diffLines(want, got), "the order differs\n"))
	}
}

// noContent is a layer whose content cannot be read.
type noContent struct{ layer.Layer }

func (noContent) Open(context.Context, string) (io.ReadCloser, error) {
	return nil, fmt.Errorf("content was read")
}

func (noContent) OpenAt(context.Context, int) (io.ReadCloser, error) {
	return nil, fmt.Errorf("content was read")
}
