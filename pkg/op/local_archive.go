package op

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Archive is what an archive that is a local source has, or a directory in it. Owners are those of the
// archive.
type Archive struct {
	view *tree.View
	at   string // path of the directory in the view
	root *tree.Node
}

// ReadArchive reads a tar, plain or compressed, to its end. The entries mean what they mean to ADD: names like those of
// whiteouts are ordinary, and no link leads out. Contents are kept in the temporary area of dir as they come; nothing
// is unpacked. Directories that the archive does not list are as old as now. What is not whole is an error; an archive that only lacks
// its end is whole if vouched, asked when all has been read, says that all of it came. It may be nil.
func ReadArchive(ctx context.Context, r io.Reader, dir *state.Dir, now time.Time, vouched func() bool) (_ *Archive, err error) {
	z, _, err := compression.NewReader(r)
	if err != nil {
		return nil, err
	}
	empty, err := tree.New().View(ctx)
	if err != nil {
		return nil, errors.Join(err, z.Close())
	}
	d := newDraft(empty, now)
	u := unpacker{jail: jail{d: d, root: d.root}, spool: &spool{dir: dir}}
	err = u.unpack(ctx, newWholeTar(z, vouched))
	if err == nil { // what a compressed stream ends with says whether all of it was right
		_, err = io.Copy(io.Discard, z)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, errors.Join(err, u.spool.discard())
	}
	if err := u.spool.close(); err != nil {
		return nil, err
	}
	made, err := d.layer(ctx, empty)
	if err != nil {
		return nil, err
	}
	view, err := tree.New(made).View(ctx)
	if err != nil {
		return nil, err
	}
	return &Archive{view: view, root: view.Root()}, nil
}

// Len is the number of names.
func (a *Archive) Len() int { return a.view.Len() - 1 }

// Sub is a directory in a, to which links may lead as they do inside of a root.
func (a *Archive) Sub(dir string) (*Archive, error) {
	at, n, err := a.view.Resolve(path.Join("/", a.at, dir), true)
	if err == nil && !n.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, fmt.Errorf("directory %s of the archive: %w", dir, err)
	}
	return &Archive{view: a.view, at: at, root: n}, nil
}

// HasFile reports whether there is a regular file at a path, or a link to one.
func (a *Archive) HasFile(p string) bool {
	n, err := a.view.Lookup(path.Join("/", a.at, p))
	return err == nil && n.IsRegular()
}

// Newest is the time of the youngest regular file, zero if there is none.
func (a *Archive) Newest() time.Time {
	var newest time.Time
	for _, n := range a.root.Walk("") {
		if t := n.Entry().ModTime; n.IsRegular() && t.After(newest) {
			newest = t
		}
	}
	return newest
}

func (a *Archive) selected(ctx context.Context, l *Local) (layer.Layer, error) {
	filtered, err := fsutil.NewFilterFS(archiveFS{a.root}, l.filter())
	if err != nil {
		return nil, err
	}
	var files []layer.File
	first := map[*layer.Entry]string{} // names that were selected of files with several
	err = filtered.Walk(ctx, "", func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n, ok := descend(a.root, p)
		if !ok {
			return fmt.Errorf("%s is not in the archive", p)
		}
		files = append(files, fileOf(n, p, first))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return layer.New(files)
}

// fileOf is n under the name p.
func fileOf(n *tree.Node, p string, first map[*layer.Entry]string) layer.File {
	e := *n.Entry()
	if !n.IsDir() && n.Linked() {
		if target, ok := first[n.Entry()]; ok {
			link := hardlink(&e, target)
			link.Path = p
			return layer.File{Entry: link}
		}
		first[n.Entry()] = p
	}
	e.Path, e.Opaque = p, false
	f := layer.File{Entry: e}
	if n.IsRegular() {
		f.Content = n
	}
	return f
}

// descend follows a clean path, and no links.
func descend(n *tree.Node, p string) (*tree.Node, bool) {
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." {
			continue
		}
		var ok bool
		if n, ok = n.Child(name); !ok {
			return nil, false
		}
	}
	return n, true
}

// archiveFS lists an archive for fsutil's filters.
type archiveFS struct{ root *tree.Node }

// Walk implements fsutil.FS, with the rules of fs.WalkDir.
func (a archiveFS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	p := strings.TrimPrefix(path.Join("/", target), "/")
	n, ok := descend(a.root, p)
	if !ok {
		return skipped(fn(p, nil, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}))
	}
	return skipped(walkArchive(ctx, p, n, fn))
}

func skipped(err error) error {
	if errors.Is(err, fs.SkipDir) || errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

func walkArchive(ctx context.Context, p string, n *tree.Node, fn fs.WalkDirFunc) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p != "" {
		if err := fn(p, archiveEntry(p, n), nil); err != nil {
			if n.IsDir() && errors.Is(err, fs.SkipDir) {
				return nil
			}
			return err
		}
	}
	for child := range n.Children() {
		err := walkArchive(ctx, path.Join(p, child.Name()), child, fn)
		if errors.Is(err, fs.SkipDir) {
			return nil // the rest of this directory
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// archiveEntry says of a file what the filters ask for: its type, and where a symbolic link leads.
func archiveEntry(p string, n *tree.Node) fs.DirEntry {
	s := &types.Stat{Path: p}
	switch {
	case n.IsDir():
		s.Mode = uint32(fs.ModeDir)
	case n.IsSymlink():
		s.Mode, s.Linkname = uint32(fs.ModeSymlink), n.Entry().Link
	}
	return &fsutil.DirEntryInfo{Stat: s}
}

// Open implements fsutil.FS. The filters never call it.
func (a archiveFS) Open(p string) (io.ReadCloser, error) {
	n, ok := descend(a.root, p)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return n.Open(context.Background())
}
