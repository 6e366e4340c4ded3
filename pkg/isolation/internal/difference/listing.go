package difference

import (
	"iter"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Listing is what a layer records of files that were found. There may be very many: it refers to where they are, and copies none.
type Listing struct {
	files []*File // in tree order
}

// List makes a listing of files that were found in any order: hard links are told from files, and what is the same is dropped, except
// directories in which something is not. A file that has several names here stays, although the same: not every tool can
// link to a file of a lower layer.
//
// It takes ownership of the files, which are best given in pieces, such as directories: a piece is in memory until the last of it was
// taken from the listing.
func List(found ...[]File) *Listing {
	total := 0
	for _, files := range found {
		total += len(files)
	}
	all := make([]*File, 0, total)
	for _, files := range found {
		for i := range files {
			all = append(all, &files[i])
		}
	}
	slices.SortFunc(all, func(a, b *File) int { return layer.ComparePaths(a.Path, b.Path) })
	link(all)
	return &Listing{prune(all)}
}

// link makes hard links of further names of a file.
func link(files []*File) {
	names := map[Inode]int{} // how many names of a file there are
	for _, f := range files {
		if f.Links > 1 {
			names[f.Inode]++
		}
	}
	first := map[Inode]string{}
	for _, f := range files {
		if f.Links < 2 || names[f.Inode] < 2 {
			continue
		}
		f.Same = false
		target, ok := first[f.Inode]
		if !ok {
			first[f.Inode] = f.Path
			continue
		}
		f.Type, f.Link, f.Size, f.Xattrs = layer.Hardlink, target, 0, nil
		f.Stamp = layer.Stamp{}
	}
}

// prune drops what is the same. In tree order, read backwards, a directory comes after everything in it.
func prune(files []*File) []*File {
	needed := map[string]bool{}
	at := len(files)
	for _, f := range slices.Backward(files) {
		if f.Same && !needed[f.Path] {
			continue
		}
		if i := strings.LastIndexByte(f.Path, '/'); i > 0 {
			needed[f.Path[:i]] = true
		}
		at--
		files[at] = f
	}
	clear(files[:at])
	return files[at:]
}

// Len is how many there are.
func (l *Listing) Len() int { return len(l.files) }

// All yields them in tree order, once: what was taken is not in the listing any more.
func (l *Listing) All() iter.Seq[layer.DirFile] {
	return func(yield func(layer.DirFile) bool) {
		for len(l.files) > 0 {
			f := l.files[0]
			l.files[0] = nil
			l.files = l.files[1:]
			if !yield(f.DirFile) {
				return
			}
		}
	}
}

// Slice takes all of them.
func (l *Listing) Slice() []layer.DirFile {
	return slices.AppendSeq(make([]layer.DirFile, 0, l.Len()), l.All())
}
