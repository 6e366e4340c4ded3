// Package receiver makes layers of the upper directories of overlay mounts that come from inside the sandbox's
// kernel as package changes sends them.
package receiver

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/difference"
	"github.com/slipway-build/slipway/pkg/isolation/internal/inode"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/changes"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Receiver reads what a [changes.Sender] writes. The stream is foreign: it comes from where the RUN was.
type Receiver struct{ in *gob.Decoder }

// New returns a Receiver that reads from r.
func New(r io.Reader) *Receiver { return &Receiver{in: gob.NewDecoder(r)} }

// upper is one directory as it comes.
type upper struct {
	*Receiver
	spool    *os.File
	size     int64 // of the spool
	ctx      context.Context
	found    []difference.File
	contents map[string]*part           // by path
	shared   map[difference.Inode]*part // of files with several names
	dirs     map[string]*dir            // by path
	began    int64
}

// dir is a directory of the upper one.
type dir struct {
	below    *tree.Node // what of the tree below shows through there; nil for nothing
	modified int64      // when something was made or removed in it last, in nanoseconds
	// copied says that something in it was copied up, changed that something was put there, replaced or
	// removed.
	copied, changed bool
}

// note takes note of an object in the directory, over what the tree below has there.
//
// Linux's overlayfs gives a directory its time back when it has copied something up into it;
// gVisor's does not. A new file was accessed last when it was made: after the command had begun, and
// before the directory was modified last. A copy has the time of what it is a copy of, or another one if
// that was changed later.
func (d *dir) note(s *inode.Status, kind layer.Type, lower *tree.Node, began int64) {
	accessed := s.Stat.Atime.Sec*1e9 + int64(s.Stat.Atime.Nsec)
	isNew := accessed >= began && accessed <= d.modified
	if lower != nil && kind == lower.Entry().Type && !isNew {
		d.copied = true
	} else {
		d.changed = true
	}
}

// Next returns the number of the directory that comes next; false if there is none.
func (r *Receiver) Next() (n int, more bool, err error) {
	var s changes.Start
	if err := r.in.Decode(&s); err != nil {
		return 0, false, fmt.Errorf("receiving the changes: %w", unexpected(err))
	}
	return s.Upper, !s.End, nil
}

// unexpected is the error of a stream that has to go on.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Receive reads one directory as the layer that it is over the tree below, as package upper does it of one
// of this kernel. Contents are kept in spool, an empty file that
// has to stay open as long as the layer is read.
func (r *Receiver) Receive(ctx context.Context, below *tree.View, spool *os.File) (layer.Layer, error) {
	u := &upper{
		Receiver: r, spool: spool, ctx: ctx,
		contents: map[string]*part{}, shared: map[difference.Inode]*part{}, dirs: map[string]*dir{},
	}
	for {
		var o changes.Object
		if err := r.in.Decode(&o); err != nil {
			return nil, fmt.Errorf("receiving the changes: %w", unexpected(err))
		}
		if o.Last {
			return u.layer()
		}
		if err := u.add(&o, below); err != nil {
			return nil, fmt.Errorf("receiving the changes: %q: %w", o.Path, err)
		}
	}
}

// layer makes the layer of what was found.
func (u *upper) layer() (layer.Layer, error) {
	u.restoreTimes()
	list := difference.List(u.found)
	files := make([]layer.File, 0, list.Len())
	for f := range list.All() {
		kept := layer.File{Entry: f.Entry}
		if f.Type == layer.Regular && f.Size > 0 {
			kept.Content = u.contents[f.Path]
		}
		files = append(files, kept)
	}
	return layer.New(files)
}

// restoreTimes gives directories their times back that only changed because something was copied up.
func (u *upper) restoreTimes() {
	for i := range u.found {
		f := &u.found[i]
		d := u.dirs[f.Path]
		if f.Type != layer.Directory || d == nil || d.below == nil || !d.copied || d.changed || f.Same {
			continue
		}
		f.ModTime = d.below.Entry().ModTime
		f.Same = difference.SameMetadata(&f.Entry, d.below.Entry())
	}
}

// add takes one object.
func (u *upper) add(o *changes.Object, below *tree.View) error {
	if o.Path == "" {
		return u.root(o, below.Root())
	}
	parent, name, ok := cutName(o.Path)
	if !ok {
		return errors.New("no valid path")
	}
	in, ok := u.dirs[parent]
	if !ok {
		return errors.New("its directory is missing")
	}
	var lower *tree.Node
	if in.below != nil {
		lower, _ = in.below.Child(name)
	}
	if o.Status.Kind() == unix.S_IFSOCK || o.Status.Whiteout() {
		in.changed = true
		// No layer holds sockets; over something they hide it.
		if lower != nil {
			u.found = append(u.found, difference.Whiteout(o.Path))
		}
		return nil
	}
	f, err := difference.OfUpper(o.Path, &o.Status, overlay.Trusted)
	if err != nil {
		return err
	}
	in.note(&o.Status, f.Type, lower, u.began)
	if f.Type == layer.Directory {
		u.directory(&f, lower)
		return nil
	}
	if err := u.content(&f, o.Content); err != nil {
		return err
	}
	if err := u.compare(&f, lower); err != nil {
		return err
	}
	u.found = append(u.found, f)
	return nil
}

func (u *upper) root(o *changes.Object, below *tree.Node) error {
	f, err := difference.OfUpper("", &o.Status, overlay.Trusted)
	if err != nil {
		return err
	}
	if _, again := u.dirs[""]; again || f.Type != layer.Directory {
		return errors.New("is not the root directory")
	}
	u.began = o.Began
	u.dirs[""] = &dir{below: below, modified: f.ModTime.UnixNano()}
	f.Root(below)
	u.found = append(u.found, f)
	return nil
}

func (u *upper) directory(f *difference.File, lower *tree.Node) {
	u.dirs[f.Path] = &dir{below: f.Directory(lower), modified: f.ModTime.UnixNano()}
	u.found = append(u.found, *f)
}

// content spools the content of a regular file, which follows, or finds that of another name of it.
func (u *upper) content(f *difference.File, follows bool) error {
	if f.Type != layer.Regular || f.Size == 0 {
		return nil
	}
	if f.Size < 0 {
		return errors.New("has a negative size")
	}
	if !follows {
		p, ok := u.shared[f.Inode]
		if !ok || p.size != f.Size {
			return errors.New("has no content")
		}
		u.contents[f.Path] = p
		return nil
	}
	p := &part{file: u.spool, offset: u.size, size: f.Size}
	for left := f.Size; left > 0; {
		if err := context.Cause(u.ctx); err != nil {
			return err
		}
		var data []byte
		if err := u.in.Decode(&data); err != nil {
			return unexpected(err)
		}
		if int64(len(data)) > left || len(data) == 0 {
			return errors.New("has content of another size")
		}
		if _, err := u.spool.WriteAt(data, u.size); err != nil {
			return fmt.Errorf("keeping its content: %w", err)
		}
		left -= int64(len(data))
		u.size += int64(len(data))
	}
	u.contents[f.Path] = p
	if f.Links > 1 {
		u.shared[f.Inode] = p
	}
	return nil
}

// compare finds out whether f is what the tree below has there anyway.
func (u *upper) compare(f *difference.File, lower *tree.Node) error {
	return f.CompareTo(u.ctx, lower, func() (io.ReadCloser, error) { return u.contents[f.Path].Open(u.ctx) })
}

// part is the content of one file. It implements layer.Content.
type part struct {
	file         *os.File
	offset, size int64
}

func (p *part) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(p.file, p.offset, p.size)), nil
}

// cutName divides a clean relative path; false if it is none.
func cutName(p string) (dir, name string, ok bool) {
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return "", "", false
		}
	}
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:], true
}
