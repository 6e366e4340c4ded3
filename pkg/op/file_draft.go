package op

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// draft is a filesystem in memory that starts as a view and is then changed: what the actions
// of a [File] work on. It does what a Linux filesystem does for root, with one exception that
// keeps results reproducible: making and removing names leaves the modification time of the
// directory alone. (In a layer that BuildKit makes, such directories carry the time of the
// build.)
//
// Directories of the view are read only where somebody looks. A draft is not safe for
// concurrent use.
type draft struct {
	root *inode
	// linked has the inodes of the view with several names, so far as they were read.
	linked map[*layer.Entry]*inode
	now    time.Time
}

// inode is a file of a draft, under all of its names.
type inode struct {
	// meta says what the file is: never a Hardlink, never a Whiteout, its Path is
	// meaningless. It belongs to the inode if owned is set, and is shared otherwise.
	meta  *layer.Entry
	owned bool
	body  content // of a Regular
	// origin is the node of the view that the inode was read from, nil if it was made.
	origin *tree.Node
	links  int // names, at least as many as there are

	names map[string]*inode // Directory: what was read or put; nil is a removed name
	below *tree.Node        // Directory: has the names that are not in names; may be nil
}

// content is what a regular file holds. Nodes of views are contents.
type content interface {
	layer.Content
	Sum(ctx context.Context) (layer.Sum, error)
}

func newDraft(v *tree.View, now time.Time) *draft {
	d := &draft{linked: map[*layer.Entry]*inode{}, now: now.UTC()}
	d.root = d.read(v.Root())
	return d
}

func (d *draft) read(n *tree.Node) *inode {
	linked := !n.IsDir() && n.Linked()
	if linked {
		if known, ok := d.linked[n.Entry()]; ok {
			return known
		}
	}
	ino := &inode{meta: n.Entry(), origin: n, links: 1}
	switch {
	case n.IsDir():
		ino.below = n
	case n.IsRegular():
		ino.body = n
	}
	if linked {
		ino.links = 2
		d.linked[n.Entry()] = ino
	}
	return ino
}

// clone returns a draft of the same state that changes on its own.
func (d *draft) clone() *draft {
	copies := map[*inode]*inode{}
	c := &draft{root: d.root.clone(copies), linked: maps.Clone(d.linked), now: d.now}
	for e, ino := range c.linked {
		c.linked[e] = ino.clone(copies)
	}
	return c
}

func (ino *inode) clone(copies map[*inode]*inode) *inode {
	if ino == nil {
		return nil
	}
	if done, ok := copies[ino]; ok {
		return done
	}
	c := *ino
	c.owned = false // meta is now shared
	ino.owned = false
	copies[ino] = &c
	if ino.names != nil {
		c.names = make(map[string]*inode, len(ino.names))
		for name, child := range ino.names {
			c.names[name] = child.clone(copies)
		}
	}
	return &c
}

func (ino *inode) isDir() bool     { return ino.meta.Type == layer.Directory }
func (ino *inode) isRegular() bool { return ino.meta.Type == layer.Regular }
func (ino *inode) isSymlink() bool { return ino.meta.Type == layer.Symlink }

// implied reports whether no layer has an entry for the directory.
func (ino *inode) implied() bool {
	return ino.isDir() && !ino.owned && ino.origin != nil && ino.origin.Layer() == nil
}

// edit returns the inode's metadata for writing.
func (ino *inode) edit() *layer.Entry {
	if !ino.owned {
		own := *ino.meta
		ino.meta, ino.owned = &own, true
	}
	return ino.meta
}

// addXattrs sets extended attributes; others stay as they are.
func (ino *inode) addXattrs(attrs map[string]string) {
	if len(attrs) == 0 {
		return
	}
	e := ino.edit()
	if len(e.Xattrs) == 0 {
		e.Xattrs = attrs // shared, as attributes of entries are never modified
		return
	}
	merged := maps.Clone(e.Xattrs)
	maps.Copy(merged, attrs)
	e.Xattrs = merged
}

// child returns the file of that name in a directory, nil if there is none.
func (d *draft) child(dir *inode, name string) *inode {
	if ino, ok := dir.names[name]; ok {
		return ino
	}
	if dir.below == nil {
		return nil
	}
	n, ok := dir.below.Child(name)
	if !ok {
		return nil
	}
	ino := d.read(n)
	d.put(dir, name, ino)
	return ino
}

// list returns the names in a directory, sorted.
func (d *draft) list(dir *inode) []string {
	var names []string
	if dir.below != nil {
		names = make([]string, 0, dir.below.NumChildren())
		for n := range dir.below.Children() {
			if _, known := dir.names[n.Name()]; !known {
				names = append(names, n.Name())
			}
		}
	}
	for name, ino := range dir.names {
		if ino != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (d *draft) put(dir *inode, name string, ino *inode) {
	if dir.names == nil {
		dir.names = map[string]*inode{}
	}
	dir.names[name] = ino
}

// remove takes a name away, with everything below it.
func (d *draft) remove(dir *inode, name string) { d.put(dir, name, nil) }

// make puts a new file into a directory. As in Linux, it gets the group of a directory that has
// its setgid bit set, and a new directory inherits the bit.
func (d *draft) make(dir *inode, name string, e layer.Entry) *inode {
	if e.ModTime.IsZero() {
		e.ModTime = d.now
	}
	const setgid = 0o2000
	if dir.meta.Mode&setgid != 0 {
		e.GID = dir.meta.GID
		if e.Type == layer.Directory {
			e.Mode |= setgid
		}
	}
	ino := &inode{meta: &e, owned: true, links: 1}
	d.put(dir, name, ino)
	return ino
}

// link gives the file target/targetName another name and returns it. A file of the view that
// has other names there leaves them, as overlayfs does when it copies a file up.
func (d *draft) link(dir *inode, name string, target *inode, targetName string) *inode {
	ino := d.child(target, targetName)
	if ino.origin != nil && ino.origin.Linked() {
		up := *ino
		up.origin, up.owned, up.links = nil, false, 1
		ino = &up
		d.put(target, targetName, ino)
	}
	ino.links++
	d.put(dir, name, ino)
	return ino
}
