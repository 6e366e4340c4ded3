package sbom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// treeFS is a view of a tree as the filesystem that extractors look at beside the file that
// they are given, for os-release. Symbolic links are followed inside the root only; contents are
// opened when asked for, and none of more than limit bytes.
type treeFS struct {
	ctx   context.Context // fs.FS has no place for it
	view  *tree.View
	state *state.Dir
	limit int64
}

var (
	_ fs.ReadDirFS  = (*treeFS)(nil)
	_ fs.StatFS     = (*treeFS)(nil)
	_ fs.ReadLinkFS = (*treeFS)(nil)
)

// lookup finds what is at name, which is "." for the root.
func (f *treeFS) lookup(op, name string, follow bool) (*tree.Node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	find := f.view.LookupNoFollow
	if follow {
		find = f.view.Lookup
	}
	n, err := find(name)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: cause(err)}
	}
	return n, nil
}

// cause takes the path off an error of the view, which names another one.
func cause(err error) error {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return perr.Err
	}
	return err
}

// Open implements fs.FS.
func (f *treeFS) Open(name string) (fs.File, error) {
	n, err := f.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	switch {
	case n.IsDir():
		entries, err := f.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openDir{info: infoOf(path.Base(name), n), entries: entries}, nil
	case !n.IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case n.Entry().Size > f.limit:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("%d bytes: %w", n.Entry().Size, tree.ErrTooLong)}
	}
	c, err := openContent(f.ctx, n, f.state)
	if err == nil && path.Base(name) == "os-release" {
		c, err = withoutLoneQuotes(c)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{content: c, info: infoOf(path.Base(name), n)}, nil
}

// withoutLoneQuotes leaves out lines of an os-release file with a value that is one double quote. scalibr
// v0.5.3 crashes on them, and all packages of the distribution would be lost.
func withoutLoneQuotes(c *content) (_ *content, err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	data, err := io.ReadAll(c)
	if err != nil {
		return nil, err
	}
	var clean []byte
	for line := range bytes.Lines(data) {
		if _, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte("=")); string(value) != `"` {
			clean = append(clean, line...)
		}
	}
	return &content{SectionReader: io.NewSectionReader(bytes.NewReader(clean), 0, int64(len(clean)))}, nil
}

// Stat implements fs.StatFS.
func (f *treeFS) Stat(name string) (fs.FileInfo, error) {
	n, err := f.lookup("stat", name, true)
	if err != nil {
		return nil, err
	}
	return infoOf(path.Base(name), n), nil
}

// Lstat implements fs.ReadLinkFS.
func (f *treeFS) Lstat(name string) (fs.FileInfo, error) {
	n, err := f.lookup("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return infoOf(path.Base(name), n), nil
}

// ReadLink implements fs.ReadLinkFS.
func (f *treeFS) ReadLink(name string) (string, error) {
	n, err := f.lookup("readlink", name, false)
	if err != nil {
		return "", err
	}
	if !n.IsSymlink() {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.Entry().Link, nil
}

// ReadDir implements fs.ReadDirFS.
func (f *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.lookup("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries := make([]fs.DirEntry, 0, n.NumChildren())
	for c := range n.Children() {
		entries = append(entries, fs.FileInfoToDirEntry(infoOf(c.Name(), c)))
	}
	return entries, nil
}

// info is what stat says of a node.
type info struct {
	name  string
	entry *layer.Entry
}

func infoOf(name string, n *tree.Node) info { return info{name: name, entry: n.Entry()} }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.entry.Size }
func (i info) Mode() fs.FileMode  { return fileMode(i.entry) }
func (i info) ModTime() time.Time { return i.entry.ModTime }
func (i info) IsDir() bool        { return i.entry.Type == layer.Directory }
func (i info) Sys() any           { return nil }

// fileMode is the mode of an entry in the encoding of io/fs.
func fileMode(e *layer.Entry) fs.FileMode {
	mode := fs.FileMode(e.Mode) & fs.ModePerm
	if e.Mode&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if e.Mode&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if e.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	switch e.Type {
	case layer.Directory:
		mode |= fs.ModeDir
	case layer.Symlink:
		mode |= fs.ModeSymlink
	case layer.CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case layer.BlockDevice:
		mode |= fs.ModeDevice
	case layer.Fifo:
		mode |= fs.ModeNamedPipe
	}
	return mode
}
