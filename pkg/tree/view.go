package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
)

// ErrTooLong is matched by the error of [View.ReadFile] for a file beyond the limit.
var ErrTooLong = errors.New("file is too long")

// View is the root filesystem that a stack of layers amounts to. It is immutable, held in
// memory without any content, and safe for concurrent use. Views share whatever they have in
// common: a layer costs memory and time in proportion to itself and to the width of the
// directories that it changes.
//
// # How layers merge
//
// A layer changes the view below it by the rules of the OCI image specification (layer.md)
// and, where those are silent, as overlayfs stacks directories:
//
//   - A directory over a directory keeps the lower one's children and takes the upper
//     one's metadata; an opaque directory keeps nothing.
//   - Any other combination replaces what was there, with everything below it.
//   - A whiteout removes what the layers below have at its path, never what its own layer
//     has; if there is nothing, it changes nothing.
//   - The parents of an entry that its layer does not list are left as they are. What is
//     missing, or is no directory (a symbolic link below is hidden, not followed), becomes a
//     directory with mode 0755, owner 0:0, modified at Unix time 0.
//   - A hard link gives another name to the file that its own layer has at the target's path,
//     or else the view below. Replacing one of the names leaves the others.
//
// Two things no unpacker could do either, so they are errors: an entry below something that
// its own layer says is no directory, and a hard link to what is not there or is a directory.
type View struct {
	root *Node
}

// newEmptyView returns the view of no layers: a root directory and nothing else.
func newEmptyView() *View {
	return &View{root: impliedDirectory("", "", nil)}
}

// impliedDirectory is the directory at path that no layer lists.
func impliedDirectory(path, name string, children []*Node) *Node {
	e := &layer.Entry{Path: path, Type: layer.Directory, Mode: 0o755, ModTime: time.Unix(0, 0).UTC()}
	return &Node{name: name, inode: &inode{entry: e}, dir: newDirectory(children)}
}

// Root is the root directory.
func (v *View) Root() *Node { return v.root }

// Len is the number of names in the view, the root included.
func (v *View) Len() int { return v.root.size() }

// Open returns the content of the regular file at p, following symbolic links. Errors are
// those of [View.Lookup] and [Node.Open].
func (v *View) Open(ctx context.Context, p string) (io.ReadCloser, error) {
	n, err := v.Lookup(p)
	if err != nil {
		return nil, err
	}
	if !n.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrInvalid}
	}
	return n.Open(ctx)
}

// ReadFile returns the content of the regular file at p, following symbolic links. A file
// longer than limit bytes is an error that matches [ErrTooLong].
func (v *View) ReadFile(ctx context.Context, p string, limit int64) ([]byte, error) {
	n, err := v.Lookup(p)
	if err != nil {
		return nil, err
	}
	data, err := n.read(ctx, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	return data, nil
}

// read returns the content of a regular file of at most limit bytes.
func (n *Node) read(ctx context.Context, limit int64) (_ []byte, err error) {
	if !n.IsRegular() {
		return nil, fs.ErrInvalid
	}
	// Checked before reading, so that nothing is fetched in vain. Layers promise to
	// deliver exactly this size.
	if size := n.Entry().Size; size > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLong, size, limit)
	}
	r, err := n.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}
