package isolationtest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Dump describes a layer, one line an entry, in tree order:
//
//	dir 0755 0:0 data                       a directory; "opaque" in the end if it is
//	file 0644 0:0 data/f "content"          content of more than 64 bytes as its SHA-256
//	link 0777 0:0 data/l -> f
//	hard data/h -> data/f
//	fifo 0644 0:0 data/p
//	char 0600 0:0 data/c 1,3                block likewise
//	gone data/old                           a whiteout
//
// Then follow extended attributes as name="value", sorted, and the time as @SECONDS
// if it is before 2020: later ones are those of the test run.
func Dump(tb testing.TB, l layer.Layer) []string {
	tb.Helper()
	ctx := tb.Context()
	x, err := l.Index(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	lines := []string{}
	for e := range x.All() {
		lines = append(lines, dumpEntry(ctx, tb, l, e))
	}
	return lines
}

func dumpEntry(ctx context.Context, tb testing.TB, l layer.Layer, e *layer.Entry) string {
	path := e.Path
	if path == "" {
		path = "/"
	}
	common := fmt.Sprintf("%04o %d:%d %s", e.Mode, e.UID, e.GID, path)
	var s string
	switch e.Type {
	case layer.Whiteout:
		return "gone " + path
	case layer.Hardlink:
		return "hard " + path + " -> " + e.Link
	case layer.Directory:
		s = "dir " + common
		if e.Opaque {
			s += " opaque"
		}
	case layer.Regular:
		s = "file " + common + " " + dumpContent(ctx, tb, l, e)
	case layer.Symlink:
		s = "link " + common + " -> " + e.Link
	case layer.Fifo:
		s = "fifo " + common
	case layer.CharDevice:
		s = fmt.Sprintf("char %s %d,%d", common, e.Major, e.Minor)
	case layer.BlockDevice:
		s = fmt.Sprintf("block %s %d,%d", common, e.Major, e.Minor)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		s += fmt.Sprintf(" %s=%q", name, e.Xattrs[name])
	}
	if e.ModTime.Before(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) {
		s += fmt.Sprintf(" @%d", e.ModTime.Unix())
		if ns := e.ModTime.Nanosecond(); ns != 0 {
			s += fmt.Sprintf(".%09d", ns)
		}
	}
	return s
}

func dumpContent(ctx context.Context, tb testing.TB, l layer.Layer, e *layer.Entry) string {
	r, err := l.Open(ctx, e.Path)
	if err != nil {
		tb.Errorf("%s: %v", e.Path, err)
		return "?"
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		tb.Errorf("%s: %v", e.Path, err)
	}
	if len(data) > 64 {
		return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	}
	return fmt.Sprintf("%q", data)
}

// diff compares two lists of lines; it is empty if they are the same.
func diff(got, want []string) string {
	if slices.Equal(got, want) {
		return ""
	}
	var b strings.Builder
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&b, "\n  unexpected: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&b, "\n  missing:    %s", line)
		}
	}
	if b.Len() == 0 {
		return "\n  the same lines in another order"
	}
	return b.String()
}
