package layer

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"syscall"
)

// Stamp is what stat(2) said of a file when it was indexed. A file whose stamp has changed
// since is not the file that the index speaks of.
type Stamp struct {
	Dev, Ino uint64
	Size     int64 // bytes
	ModTime  int64 // nanoseconds since 1970
}

// StampOf takes the stamp out of what Stat or Lstat returned.
func StampOf(fi fs.FileInfo) (Stamp, error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{}, fmt.Errorf("%q: the filesystem gives no inode numbers", fi.Name())
	}
	return Stamp{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size, ModTime: st.Mtim.Nano()}, nil
}

// DirFile is an entry whose content lies in a directory of the host.
type DirFile struct {
	Entry
	// Source is the path of the content below the root, "" if it is Entry.Path.
	Source string
	// Stamp is required for Regular entries. Those of size 0 may go without: they are
	// empty whatever is at Source, which is not looked at.
	Stamp Stamp
}

// FromDir returns the layer whose entries are files and whose contents are read from files
// below root: a build context, or the upper directory of an overlay mount. No symbolic
// link leads out of root, and whatever is found at a path, through links or not, it gives an error
// naming the file unless it is the very file of the Stamp, unchanged. The layer takes
// ownership of files, which may be in any order; root must stay open as long as the layer is used.
func FromDir(root *os.Root, files []DirFile) (Layer, error) {
	byPath := func(a, b DirFile) int { return ComparePaths(a.Path, b.Path) }
	if !slices.IsSortedFunc(files, byPath) {
		slices.SortFunc(files, byPath)
	}
	return FromDirSeq(root, len(files), slices.Values(files))
}

// FromDirSeq is FromDir of n files that come one by one, in tree order: of very many there is only what the layer needs.
func FromDirSeq(root *os.Root, n int, files iter.Seq[DirFile]) (Layer, error) {
	b, err := newBeneath(root)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	entries, places := make([]Entry, 0, n), make([]dirPlace, 0, n)
	for f := range files {
		place := dirPlace{}
		if f.Type == Regular {
			if f.Size != f.Stamp.Size {
				return nil, fmt.Errorf("layer: %q has size %d but its stamp says %d", f.Path, f.Size, f.Stamp.Size)
			}
			place = dirPlace{source: f.Source, stamp: f.Stamp}
		}
		if len(entries) > 0 && ComparePaths(entries[len(entries)-1].Path, f.Path) > 0 {
			return nil, fmt.Errorf("layer: %q comes after %q", f.Path, entries[len(entries)-1].Path)
		}
		entries, places = append(entries, f.Entry), append(places, place)
	}
	x, err := NewIndex(entries)
	if err != nil {
		return nil, err
	}
	return &dir{beneath: b, index: x, places: places}, nil
}

type dir struct {
	beneath beneath
	index   *Index
	places  []dirPlace // by position in the index
}

type dirPlace struct {
	source string
	stamp  Stamp
}

func (l *dir) Index(context.Context) (*Index, error) { return l.index, nil }

func (l *dir) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	return openByPath(ctx, l, path)
}

func (l *dir) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	e, err := l.index.checkRegular(i)
	if err != nil {
		return nil, err
	}
	place := &l.places[i]
	if e.Size == 0 && place.stamp == (Stamp{}) {
		return bytesContent(nil).Open(ctx)
	}
	source := place.source
	if source == "" {
		source = e.Path
	}
	f, err := l.beneath.open(source)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", e.Path, err)
	}
	unchanged := func() error { return place.stamp.verify(f, e.Path) }
	if err := unchanged(); err != nil {
		_ = f.Close() // opened for reading: nothing can be lost
		return nil, err
	}
	return newExactReader(f, e.Path, e.Size, unchanged), nil
}

// ChangedError says that a file is no longer the one that was indexed.
type ChangedError struct {
	Path string
}

// Error implements error.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%q changed while it was being read", e.Path)
}

func (s Stamp) verify(f file, path string) error {
	now, regular, err := f.stamp()
	if err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	if now != s || !regular {
		return &ChangedError{Path: path}
	}
	return nil
}
