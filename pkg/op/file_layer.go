package op

import (
	"context"
	"iter"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// layer returns what makes the view that the draft started from into the draft: the least
// that does. As in layers that BuildKit makes on overlayfs,
//
//   - a file that was replaced by an equal one (content, metadata, modification time) is not
//     listed;
//   - a directory of which only the modification time differs is listed if something below
//     it is;
//   - the root directory is never listed.
//
// Parents that did not change are not listed either.
func (d *draft) layer(ctx context.Context, base *tree.View) (layer.Layer, error) {
	x := differ{names: map[*inode][]name{}, kept: map[*inode]bool{}}
	x.scan("", d.root, base.Root())
	for ino, names := range x.names {
		kept, err := unchanged(ctx, ino, names)
		if err != nil {
			return nil, err
		}
		x.kept[ino] = kept
	}
	x.dir("", d.root, base.Root())
	return layer.New(x.out)
}

// differ compares a draft with the view that it started from.
type differ struct {
	// names are the names, in tree order, of all that was looked at and is no directory. New
	// files of one name, the bulk of many copies, are left out.
	names map[*inode][]name
	// kept are those of them that the layer needs not list.
	kept map[*inode]bool
	out  []layer.File
}

// name is a path in the draft, relative to the root.
type name struct {
	path string
	base *tree.Node // what the view has there, or nil
}

// children yields the names in a directory that were looked at, sorted. base is the directory at
// the same path of the view, nil if there is none or nothing of it is left.
func (x *differ) children(p string, dir *inode, base *tree.Node) iter.Seq2[name, *inode] {
	return func(yield func(name, *inode) bool) {
		for _, n := range slices.Sorted(maps.Keys(dir.names)) {
			at := name{path: path.Join(p, n)}
			if base != nil {
				at.base, _ = base.Child(n)
			}
			if !yield(at, dir.names[n]) {
				return
			}
		}
	}
}

// merged returns the directory of the view whose children a directory still has, or nil.
func (at name) merged(dir *inode) *tree.Node {
	if dir.origin != nil && dir.origin == at.base {
		return at.base
	}
	return nil
}

func (x *differ) scan(p string, dir *inode, base *tree.Node) {
	for at, ino := range x.children(p, dir, base) {
		switch {
		case ino == nil:
		case ino.isDir():
			x.scan(at.path, ino, at.merged(ino))
		case at.base == nil && ino.links == 1:
		default:
			x.names[ino] = append(x.names[ino], at)
		}
	}
}

// dir lists the changes below a directory and reports whether there are any.
func (x *differ) dir(p string, dir *inode, base *tree.Node) bool {
	changed := false
	for at, ino := range x.children(p, dir, base) {
		if x.name(at, ino) {
			changed = true
		}
	}
	return changed
}

// name lists what changed at and below one name and reports whether anything did.
func (x *differ) name(at name, ino *inode) bool {
	switch {
	case ino == nil && at.base == nil:
		return false
	case ino == nil:
		x.add(at.path, layer.Entry{Type: layer.Whiteout, ModTime: time.Unix(0, 0).UTC()}, nil)
		return true
	case ino.isDir():
		return x.directory(at, ino)
	case x.kept[ino]:
		return false
	}
	// All names of a file are listed, or none.
	if names := x.names[ino]; len(names) > 0 && names[0].path != at.path {
		x.add(at.path, hardlink(ino.meta, names[0].path), nil)
		return true
	}
	x.add(at.path, *ino.meta, ino.body)
	return true
}

func hardlink(e *layer.Entry, target string) layer.Entry {
	return layer.Entry{Type: layer.Hardlink, Link: target, Mode: e.Mode, UID: e.UID, GID: e.GID, ModTime: e.ModTime}
}

func (x *differ) directory(at name, ino *inode) bool {
	e := *ino.meta
	e.Opaque = false
	merged := at.merged(ino)
	below := x.dir(at.path, ino, merged)
	if merged == nil {
		// Nothing that the view has below this path is left.
		e.Opaque = at.base != nil && at.base.NumChildren() > 0
		x.add(at.path, e, nil)
		return true
	}
	was := merged.Entry()
	if sameInfo(&e, was) && (!below || e.ModTime.Equal(was.ModTime)) {
		return below
	}
	x.add(at.path, e, nil)
	return true
}

func (x *differ) add(p string, e layer.Entry, body content) {
	e.Path = p
	f := layer.File{Entry: e}
	if body != nil {
		f.Content = body
	}
	x.out = append(x.out, f)
}

// unchanged reports whether the view has the same file under the same names.
func unchanged(ctx context.Context, ino *inode, names []name) (bool, error) {
	for _, n := range names {
		if !n.same(ino) || !n.base.SameInode(names[0].base) {
			return false, nil
		}
	}
	if ino.untouched() || !ino.isRegular() {
		return true, nil
	}
	is, err := ino.body.Sum(ctx)
	if err != nil {
		return false, err
	}
	was, err := names[0].base.Sum(ctx)
	return is == was, err
}

// untouched reports whether the inode is as it was read from the view.
func (ino *inode) untouched() bool { return ino.origin != nil && ino.meta == ino.origin.Entry() }

// same reports whether the view has a file at this name that is like ino in everything but
// content.
func (at name) same(ino *inode) bool {
	if at.base == nil {
		return false
	}
	was := at.base.Entry()
	return ino.meta == was || ino.meta.ModTime.Equal(was.ModTime) && ino.meta.Size == was.Size && sameInfo(ino.meta, was)
}

// sameInfo compares metadata other than times and sizes.
func sameInfo(a, b *layer.Entry) bool {
	return a.Type == b.Type &&
		(a.Mode == b.Mode || a.Type == layer.Symlink) &&
		a.UID == b.UID && a.GID == b.GID &&
		a.Link == b.Link &&
		a.Major == b.Major && a.Minor == b.Minor &&
		maps.Equal(a.Xattrs, b.Xattrs)
}
