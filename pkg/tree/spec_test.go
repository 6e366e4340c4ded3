package tree

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
)

// The tests write layers and views down as text, one path per line, in any order:
//
//	d PATH [MODE] [opaque]  directory, mode 755 if not given; "." is the root
//	f PATH [CONTENT]        regular file, mode 644
//	l PATH TARGET           symbolic link
//	h PATH TARGET           hard link
//	w PATH                  whiteout
//	p PATH                  fifo
//	c PATH MAJOR MINOR      character device
//
// Entries are modified one hour after the epoch, so that implied directories differ. In
// listings of views, "@0" marks those, and "#1" the names of one inode that has several.

var specTime = time.Unix(3600, 0).UTC()

// specLayer makes a layer from lines, which can also be separated by ";".
func specLayer(t testing.TB, spec string) layer.Layer {
	t.Helper()
	var files []layer.File
	for _, line := range specLines(spec) {
		f, err := specFile(strings.Fields(line))
		if err != nil {
			t.Fatalf("specification %q: %v", line, err)
		}
		files = append(files, f)
	}
	l, err := layer.New(files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func specLines(spec string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(spec, ";", "\n"), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func specFile(words []string) (layer.File, error) {
	f := layer.File{Entry: layer.Entry{ModTime: specTime}}
	if len(words) < 2 {
		return f, fmt.Errorf("too short")
	}
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	if words[1] != "." {
		f.Path = words[1]
	}
	switch words[0] {
	case "d":
		f.Type, f.Mode = layer.Directory, 0o755
		for _, w := range words[2:] {
			if w == "opaque" {
				f.Opaque = true
				continue
			}
			mode, err := strconv.ParseUint(w, 8, 12)
			if err != nil {
				return f, err
			}
			f.Mode = uint16(mode)
		}
	case "f":
		f.Type, f.Mode = layer.Regular, 0o644
		if content := arg(2); content != "" {
			f.Content, f.Size = layer.Bytes([]byte(content)), int64(len(content))
		}
	case "l":
		f.Type, f.Mode, f.Link = layer.Symlink, 0o777, arg(2)
	case "h":
		f.Type, f.Link = layer.Hardlink, arg(2)
	case "w":
		f.Type = layer.Whiteout
	case "p":
		f.Type, f.Mode = layer.Fifo, 0o600
	case "c":
		f.Type, f.Mode = layer.CharDevice, 0o600
		if _, err := fmt.Sscan(arg(2)+" "+arg(3), &f.Major, &f.Minor); err != nil {
			return f, err
		}
	default:
		return f, fmt.Errorf("unknown type")
	}
	return f, nil
}

// specTree stacks layers given as text, lowest first.
func specTree(t testing.TB, specs ...string) *Tree {
	t.Helper()
	var tr *Tree
	for _, s := range specs {
		tr = tr.Push(specLayer(t, s))
	}
	return tr
}

func specView(t testing.TB, specs ...string) *View {
	t.Helper()
	v, err := specTree(t, specs...).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// list writes a view down, without the root if it is an implied one.
func list(t testing.TB, v *View) string {
	t.Helper()
	names := map[*inode]int{}
	for _, n := range v.Walk("") {
		names[n.inode]++
	}
	numbers := map[*inode]int{}
	var b strings.Builder
	for p, n := range v.Walk("") {
		if p == "" && n.Layer() == nil {
			continue
		}
		b.WriteString(describe(t.Context(), p, n))
		if names[n.inode] > 1 {
			if numbers[n.inode] == 0 {
				numbers[n.inode] = len(numbers) + 1
			}
			fmt.Fprintf(&b, " #%d", numbers[n.inode])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// describe writes down one node in the notation of layers.
func describe(ctx context.Context, p string, n *Node) string {
	e := n.Entry()
	if p == "" {
		p = "."
	}
	switch e.Type {
	case layer.Directory:
		s := fmt.Sprintf("d %s %o", p, e.Mode)
		if e.ModTime.Equal(time.Unix(0, 0)) {
			s += " @0"
		}
		return s
	case layer.Regular:
		return strings.TrimSuffix(fmt.Sprintf("f %s %s", p, content(ctx, n)), " ")
	case layer.Symlink:
		return fmt.Sprintf("l %s %s", p, e.Link)
	case layer.Fifo:
		return "p " + p
	case layer.CharDevice:
		return fmt.Sprintf("c %s %d %d", p, e.Major, e.Minor)
	}
	return fmt.Sprintf("type %d at %s", e.Type, p)
}

func content(ctx context.Context, n *Node) string {
	r, err := n.Open(ctx)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// lines brings an expected listing into the form of list.
func lines(spec string) string {
	ls := specLines(spec)
	if len(ls) == 0 {
		return ""
	}
	return strings.Join(ls, "\n") + "\n"
}
