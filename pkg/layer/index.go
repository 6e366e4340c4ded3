package layer

import (
	"cmp"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
)

// Index is the immutable table of contents of a layer: entries in tree order, each path
// at most once. Parents may be absent: a layer may hold "a/b" without "a".
type Index struct {
	entries []Entry
}

// NewIndex takes ownership of entries, puts them into tree order (see [ComparePaths]) and
// checks them. Of two entries with the same path it is an error to pass both.
func NewIndex(entries []Entry) (*Index, error) {
	for i := range entries {
		if err := entries[i].validate(); err != nil {
			return nil, err
		}
	}
	byPath := func(a, b Entry) int { return ComparePaths(a.Path, b.Path) }
	if !slices.IsSortedFunc(entries, byPath) {
		slices.SortFunc(entries, byPath)
	}
	for i := 1; i < len(entries); i++ {
		if entries[i].Path == entries[i-1].Path {
			return nil, fmt.Errorf("layer index: %q is listed twice", entries[i].Path)
		}
	}
	return &Index{entries: entries}, nil
}

// Len is the number of entries.
func (x *Index) Len() int { return len(x.entries) }

// At returns the i-th entry in tree order. It is shared and must not be modified.
func (x *Index) At(i int) *Entry { return &x.entries[i] }

// All yields the entries in tree order: a directory directly before everything below it.
func (x *Index) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range x.entries {
			if !yield(&x.entries[i]) {
				return
			}
		}
	}
}

// Find returns the position of path in tree order and whether it is there.
func (x *Index) Find(p string) (int, bool) {
	return sort.Find(len(x.entries), func(i int) int { return ComparePaths(p, x.entries[i].Path) })
}

// Lookup returns the entry at path, or an error that matches fs.ErrNotExist.
func (x *Index) Lookup(p string) (*Entry, error) {
	i, ok := x.Find(p)
	if !ok {
		return nil, &fs.PathError{Op: "lookup", Path: p, Err: fs.ErrNotExist}
	}
	return &x.entries[i], nil
}

// equal reports whether x and y say the same, modification times aside, and sums that only one has.
func (x *Index) equal(y *Index) bool {
	return x == y || slices.EqualFunc(x.entries, y.entries, func(a, b Entry) bool { return a.equal(&b) })
}

func (e *Entry) equal(o *Entry) bool {
	return e.Path == o.Path && e.Type == o.Type && e.Opaque == o.Opaque && e.Mode == o.Mode &&
		e.UID == o.UID && e.GID == o.GID && e.Size == o.Size &&
		e.Link == o.Link && e.Major == o.Major && e.Minor == o.Minor && (e.Sum == o.Sum || e.Sum.IsZero() || o.Sum.IsZero()) &&
		maps.Equal(e.Xattrs, o.Xattrs)
}

// ComparePaths orders paths so that every directory comes directly before its subtree:
// the slash sorts below every other byte.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

func (e *Entry) validate() error {
	if !validPath(e.Path) {
		return fmt.Errorf("layer index: path %q is not clean and relative", e.Path)
	}
	if e.Path == "" && e.Type != Directory {
		return fmt.Errorf("layer index: the root is not a directory")
	}
	if e.Type < Regular || e.Type > Whiteout {
		return fmt.Errorf("layer index: %q has unknown type %d", e.Path, e.Type)
	}
	if e.Mode > 0o7777 {
		return fmt.Errorf("layer index: %q has mode %#o beyond 07777", e.Path, e.Mode)
	}
	if e.Size < 0 || (e.Size > 0 && e.Type != Regular) {
		return fmt.Errorf("layer index: %q has size %d", e.Path, e.Size)
	}
	if e.Opaque && e.Type != Directory {
		return fmt.Errorf("layer index: %q is opaque but no directory", e.Path)
	}
	if e.Type == Hardlink && (e.Link == "" || !validPath(e.Link)) {
		return fmt.Errorf("layer index: hard link %q has target %q", e.Path, e.Link)
	}
	return nil
}

// validPath reports whether p is in the form that Entry.Path asks for.
func validPath(p string) bool {
	if p == "" {
		return true
	}
	if strings.ContainsRune(p, 0) || p[0] == '/' {
		return false
	}
	return path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}
