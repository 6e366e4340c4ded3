package op

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"time"

	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/slipway-build/slipway/pkg/layer"
)

// newDirMode is the mode of directories that a copy makes on the way to its destination.
const newDirMode = 0o755

// copyAction is a [Copy] on its way. The semantics are those of BuildKit's file backend and of
// github.com/tonistiigi/fsutil/copy under it, except for two mishaps there: a block device
// becomes a character device, and a file can be in the way of a directory that patterns leave
// out.
type copyAction struct {
	*Copy
	env      *Env
	src, dst *draft
	own      *ids // nil keeps owners
	// summed says that the cache key has taken the sums of what is copied already, so
	// that the new layer can have them for nothing.
	summed bool
}

func (a *copyAction) run(ctx context.Context) error {
	if !a.CreateDestPath {
		if err := a.requireDestParent(); err != nil {
			return err
		}
	}
	sel, err := selectSources(ctx, a.src, a.Copy)
	if err != nil {
		return err
	}
	if len(sel) == 0 && !a.AllowEmptyWildcard {
		return &NotFoundError{Path: cleanPath(a.Src)}
	}
	for _, m := range sel {
		if a.AttemptUnpack {
			unpacked, err := a.unpack(ctx, m)
			if err != nil {
				return fmt.Errorf("unpack %s: %w", m.path, err)
			}
			if unpacked {
				continue
			}
		}
		if err := a.copy(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (a *copyAction) requireDestParent() error {
	p, err := a.dst.rootPath(a.Dest)
	if err != nil {
		return err
	}
	if _, err := a.dst.lstat(path.Dir(p)); err != nil {
		return fmt.Errorf("failed to stat %s: %w", a.Dest, err)
	}
	return nil
}

// copy copies one match.
func (a *copyAction) copy(ctx context.Context, m match) error {
	c := copier{
		dst:     a.dst,
		own:     a.own,
		time:    a.Timestamp,
		replace: a.AlwaysReplaceExistingDestPaths,
		summed:  a.summed,
		links:   map[*inode]*inode{},
	}
	dirMode := uint16(newDirMode)
	switch {
	case a.ModeStr != "":
		set, err := mode.ParseWithUmask(a.ModeStr, 0)
		if err != nil {
			return fmt.Errorf("mode %q: %w", a.ModeStr, err)
		}
		c.modes = &set
	case a.Mode != -1:
		octal := uint16(a.Mode & 0o7777)
		c.mode, dirMode = &octal, octal&0o777
	}
	at, err := a.destination(m, dirMode)
	if err != nil {
		return err
	}
	return c.copy(ctx, m.root, at, false)
}

// destination finds the place that a match is copied to and makes the directories above.
func (a *copyAction) destination(m match, dirMode uint16) (place, error) {
	mkdirAll := func(p string) error {
		_, err := a.dst.mkdirAll(p, dirMode, a.own, a.Timestamp)
		return err
	}
	dest := cleanPath(a.Dest)
	parent, last := path.Split(dest)
	if last == "" || last == "." {
		parent = dest // asked for as a directory
	}
	parent, err := a.dst.rootPath(parent)
	if err != nil {
		return place{}, err
	}
	if err := mkdirAll(parent); err != nil {
		return place{}, err
	}

	p, err := a.dst.rootPath(dest)
	if err != nil {
		return place{}, err
	}
	existing, err := a.dst.lstat(p)
	if err != nil && !isNotExist(err) {
		return place{}, err
	}
	dir := m.root.ino.isDir()
	switch {
	case dir && existing != nil && !a.DirCopyContents,
		!dir && existing != nil && existing.isDir():
		p = path.Join(p, path.Base(m.path))
	}
	parent = path.Dir(p)
	if dir && existing == nil && a.DirCopyContents {
		parent = p
	}
	if err := mkdirAll(parent); err != nil {
		return place{}, err
	}
	return a.dst.place("copy", p)
}

// copier copies files and trees to places, one match at a time.
type copier struct {
	dst     *draft
	own     *ids
	mode    *uint16
	modes   *mode.Set
	time    *time.Time
	replace bool
	summed  bool
	// links is what sources with several names became.
	links map[*inode]*inode
}

// copy copies p to at. An existing directory gets the metadata of the source if overwrite is set,
// which holds for all but the topmost one.
func (c *copier) copy(ctx context.Context, p *pick, at place, overwrite bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	existing := c.dst.at(at)
	if existing != nil && at.dir != nil && c.replace && !p.passage {
		if merge := p.ino.isDir() && existing.isDir(); !merge {
			c.dst.remove(at.dir, at.name)
			existing = nil
		}
	}
	if p.ino.isDir() {
		return c.copyDir(ctx, p, at, existing, overwrite)
	}
	if existing != nil && existing.isDir() {
		return fmt.Errorf("cannot replace to directory %s with file", at.path)
	}
	return c.copyFile(ctx, p.ino, at)
}

func (c *copier) copyDir(ctx context.Context, p *pick, at place, existing *inode, overwrite bool) error {
	dir := existing
	switch {
	case existing == nil:
		dir = c.dst.make(at.dir, at.name, layer.Entry{Type: layer.Directory})
		c.setInfo(dir, p.ino)
	case !existing.isDir():
		return fmt.Errorf("cannot copy to non-directory: %s", at.path)
	case p.passage:
		dir.edit().Mode = p.ino.meta.Mode
	case overwrite:
		c.setInfo(dir, p.ino)
	default:
		c.setTime(dir, p.ino)
	}
	for _, child := range p.below {
		if err := c.copy(ctx, child, at.join(dir, child.name), true); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) copyFile(ctx context.Context, src *inode, at place) error {
	linked := src.isRegular() && src.links > 1
	if first, ok := c.links[src]; linked && ok {
		first.links++
		c.dst.put(at.dir, at.name, first)
		return nil
	}
	from := src.meta
	ino := c.dst.make(at.dir, at.name, layer.Entry{
		Type:  from.Type,
		Size:  from.Size,
		Sum:   from.Sum,
		Link:  from.Link,
		Major: from.Major,
		Minor: from.Minor,
	})
	ino.body = src.body
	c.setInfo(ino, src)
	if linked {
		c.links[src] = ino
	}
	if !c.summed || !src.isRegular() {
		return nil
	}
	sum, err := src.body.Sum(ctx)
	ino.edit().Sum = sum
	return err
}

// setInfo gives ino the metadata of from, as far as the copy does not say otherwise. Extended
// attributes are added.
func (c *copier) setInfo(ino, src *inode) {
	e, from := ino.edit(), src.meta
	e.UID, e.GID = from.UID, from.GID
	ino.setOwner(c.own)
	e.Mode = c.modeOf(from)
	c.setTime(ino, src)
	ino.addXattrs(from.Xattrs)
}

// setTime gives ino the time of src, if the copy does not say otherwise. A directory that only what
// is in it implies, such as the root of a build context, has none: its copy is new.
func (c *copier) setTime(ino, src *inode) {
	tm := c.time
	switch {
	case tm != nil:
	case src.implied():
		tm = &c.dst.now
	default:
		tm = &src.meta.ModTime
	}
	ino.setTime(tm)
}

func (c *copier) modeOf(from *layer.Entry) uint16 {
	switch {
	case from.Type == layer.Symlink:
		return symlinkMode
	case c.modes != nil:
		return fromFileMode(c.modes.Apply(toFileMode(from)))
	case c.mode != nil:
		return *c.mode
	}
	return from.Mode
}

// symlinkMode is what Linux gives every symbolic link.
const symlinkMode = 0o777

// toFileMode returns the mode as io/fs has it: symbolic modes depend on what is a directory.
func toFileMode(e *layer.Entry) fs.FileMode {
	m := fs.FileMode(e.Mode & 0o777)
	if e.Mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if e.Mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if e.Mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	if e.Type == layer.Directory {
		m |= fs.ModeDir
	}
	return m
}

func fromFileMode(m fs.FileMode) uint16 {
	mode := uint16(m.Perm())
	if m&fs.ModeSetuid != 0 {
		mode |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		mode |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}
