package golden

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// inode is a file in the merged tree; hard-linked names share one.
type inode struct {
	header  tar.Header
	content []byte
}

// merged is a root filesystem: what is at each clean, relative path; the root itself is "".
type merged map[string]*inode

// mergeLayers applies layers one after the other, by the rules of image-spec, layer.md.
func mergeLayers(layers [][]byte) (merged, error) {
	m := merged{}
	for i, layer := range layers {
		if err := m.apply(layer); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return m, nil
}

func (m merged) apply(layer []byte) error {
	added := map[string]bool{} // by this layer: whiteouts concern only those below
	seen := map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if seen[p] {
			return fmt.Errorf("%s is there twice", h.Name)
		}
		seen[p] = true
		dir, base := path.Split(p)
		dir = strings.TrimSuffix(dir, "/")
		if base == ".wh..wh..opq" {
			m.removeBelow(dir, added)
			continue
		}
		if name, ok := strings.CutPrefix(base, ".wh."); ok {
			m.removeBelow(path.Join(dir, name), added)
			if !added[path.Join(dir, name)] {
				delete(m, path.Join(dir, name))
			}
			continue
		}
		if err := m.add(p, h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		added[p] = true
	}
}

func (m merged) add(p string, h *tar.Header, r io.Reader) error {
	for dir := path.Dir(p); dir != "." && p != ""; dir = path.Dir(dir) {
		if n := m[dir]; n != nil && n.header.Typeflag != tar.TypeDir {
			return fmt.Errorf("its parent %s is no directory", dir)
		}
	}
	if h.Typeflag == tar.TypeLink {
		target := m[strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")]
		if target == nil {
			return fmt.Errorf("it is a hard link to %s, which is not there", h.Linkname)
		}
		m.removeBelow(p, nil)
		m[p] = target
		return nil
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeDir {
		m.removeBelow(p, nil)
	}
	m[p] = &inode{header: *h, content: content}
	return nil
}

// removeBelow removes everything below dir but what is in keep.
func (m merged) removeBelow(dir string, keep map[string]bool) {
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	maps.DeleteFunc(m, func(p string, _ *inode) bool {
		return p != "" && strings.HasPrefix(p, prefix) && !keep[p]
	})
}

// lines describes every path: path, type, mode, owner, time, then size and content, link or
// device, and extended attributes. Times that are epoch are written as this word.
func (m merged) lines(epoch time.Time) map[string]string {
	names := map[*inode][]string{}
	for _, p := range slices.Sorted(maps.Keys(m)) {
		names[m[p]] = append(names[m[p]], p)
	}
	lines := map[string]string{}
	for p, n := range m {
		line := n.line(epoch)
		if all := names[n]; len(all) > 1 && all[0] != p {
			line += " hardlink=" + quoteIfNeeded("/"+all[0])
		}
		lines[p] = quoteIfNeeded("/"+p) + " " + line
	}
	return lines
}

func (n *inode) line(epoch time.Time) string {
	h := n.header
	mtime := h.ModTime.UTC().Format(time.RFC3339Nano)
	if h.ModTime.Equal(epoch) {
		mtime = "epoch"
	}
	kind, rest := n.kind()
	line := fmt.Sprintf("%s %04o %d:%d %s%s", kind, h.Mode&0o7777, h.Uid, h.Gid, mtime, rest)
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			line += fmt.Sprintf(" %s=%q", name, h.PAXRecords[key])
		}
	}
	if h.Uname != "" || h.Gname != "" {
		line += fmt.Sprintf(" uname=%q gname=%q", h.Uname, h.Gname)
	}
	return line
}

func (n *inode) kind() (kind, rest string) {
	h := n.header
	switch h.Typeflag {
	case tar.TypeReg:
		return "file", " " + describe(n.content)
	case tar.TypeDir:
		return "dir", ""
	case tar.TypeSymlink:
		return "symlink", " -> " + quoteIfNeeded(h.Linkname)
	case tar.TypeChar:
		return "char", fmt.Sprintf(" %d:%d", h.Devmajor, h.Devminor)
	case tar.TypeBlock:
		return "block", fmt.Sprintf(" %d:%d", h.Devmajor, h.Devminor)
	case tar.TypeFifo:
		return "fifo", ""
	}
	return fmt.Sprintf("type-%q", h.Typeflag), ""
}

// describe gives size and content, or if that is long or no text the digest.
func describe(content []byte) string {
	if len(content) <= 200 && utf8.Valid(content) {
		return fmt.Sprintf("%d %q", len(content), content)
	}
	return fmt.Sprintf("%d %s", len(content), sha256Of(content))
}

func quoteIfNeeded(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || strings.ContainsAny(s, " =") {
		return q
	}
	return s
}

// treeText lists a tree, or if there is a base what differs from it: paths that are gone are
// marked with "-". The listing and the base together say everything about the tree.
func treeText(m, base merged, epoch time.Time) string {
	lines, old := m.lines(epoch), base.lines(epoch)
	paths := slices.AppendSeq(slices.Collect(maps.Keys(lines)), maps.Keys(old))
	slices.Sort(paths)
	var text strings.Builder
	for _, p := range slices.Compact(paths) {
		line, ok := lines[p]
		switch {
		case !ok:
			text.WriteString("- " + quoteIfNeeded("/"+p) + "\n")
		case line != old[p]:
			text.WriteString(line + "\n")
		}
	}
	return text.String()
}
