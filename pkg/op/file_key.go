package op

import (
	"context"
	"path"
	"time"

	"github.com/slipway-build/slipway/pkg/tree"
)

// Key implements [Op]. It is made of
//
//   - the actions with all their options;
//   - the key of each input that an action changes;
//   - of inputs that are only read, exactly what is selected from them: names below the source
//     path, type, mode, link, extended attributes, content, hard links, and the owner if the
//     copy keeps it, not modification times; of source paths only the name that the copy
//     may get;
//   - owners by name as the numbers they stand for, if looked up in an input that is only
//     read, and as names otherwise: then the input's key says what they stand for.
//
// Inputs that are only read but for which [Input.ByKey] is set count as those that are changed.
func (f *File) Key(ctx context.Context, env *Env, in []Input) (Key, error) {
	r := newFileRun(f, env, in)
	if _, err := r.plan(); err != nil {
		return Key{}, err
	}
	k := &fileKey{keyHash: newKey("file").traced(ctx), run: r}
	if err := k.inputs(ctx); err != nil {
		return Key{}, err
	}
	k.part("the instruction").int(int64(len(f.Actions)))
	for i := range f.Actions {
		if err := k.action(ctx, &f.Actions[i]); err != nil {
			return Key{}, err
		}
	}
	return k.sum(), nil
}

// fileKey computes the key of a [File].
type fileKey struct {
	*keyHash
	run *fileRun
}

// inputs adds the keys of the inputs that are changed.
func (k *fileKey) inputs(ctx context.Context) error {
	k.part(belowLabel).int(int64(len(k.run.in)))
	for i, in := range k.run.in {
		if k.bool(k.run.byContent(i)); k.run.byContent(i) {
			continue
		}
		if k.run.onlyRead(i) {
			k.part("where it is copied from")
		}
		key, err := in.Key(ctx)
		if err != nil {
			return err
		}
		k.key(key)
	}
	return nil
}

func (k *fileKey) action(ctx context.Context, a *FileAction) error {
	k.part("the instruction").int(int64(a.Input)).int(int64(a.Secondary)).int(int64(a.Output))
	if err := k.owner(ctx, a.owner()); err != nil {
		return err
	}
	switch {
	case a.Copy != nil:
		return k.copy(ctx, a.Copy, a.Secondary)
	case a.Mkdir != nil:
		m := a.Mkdir
		k.str("mkdir").str(m.Path).int(int64(m.Mode)).bool(m.MakeParents)
		k.time(m.Timestamp)
	case a.Mkfile != nil:
		m := a.Mkfile
		k.str("mkfile").str(m.Path).int(int64(m.Mode)).bytes(m.Data)
		k.time(m.Timestamp)
	}
	return nil
}

func (k *fileKey) time(t *time.Time) {
	k.bool(t != nil)
	if t != nil {
		k.int(t.Unix()).int(int64(t.Nanosecond()))
	}
}

func (k *fileKey) owner(ctx context.Context, o *Owner) error {
	k.bool(o != nil)
	if o == nil {
		return nil
	}
	for _, p := range []*Principal{o.User, o.Group} {
		k.bool(p != nil)
		if p != nil && (p.Name == "" || !k.run.byContent(p.Input)) {
			k.int(int64(p.ID)).str(p.Name).int(int64(p.Input))
		}
	}
	own, _, err := k.readOwner(o).resolve(ctx, k.run.sources(ctx))
	if err != nil {
		return err
	}
	k.int(int64(own.uid)).int(int64(own.gid))
	return nil
}

// readOwner returns o without the names that are not looked up for the key.
func (k *fileKey) readOwner(o *Owner) *Owner {
	read := *o
	if p := o.User; p != nil && p.Name != "" && !k.run.byContent(p.Input) {
		read.User = nil
	}
	if p := o.Group; p != nil && p.Name != "" && !k.run.byContent(p.Input) {
		read.Group = nil
	}
	return &read
}

func (k *fileKey) copy(ctx context.Context, c *Copy, from int) error {
	k.str("copy").str(c.Dest).int(int64(c.Mode)).str(c.ModeStr).
		bool(c.FollowSymlink).bool(c.DirCopyContents).bool(c.AttemptUnpack).bool(c.CreateDestPath).
		bool(c.AllowWildcard).bool(c.AllowEmptyWildcard).bool(c.AlwaysReplaceExistingDestPaths).
		strs(c.Include).strs(c.Exclude).strs(c.RequiredPaths)
	k.time(c.Timestamp)
	if !k.run.byContent(from) {
		k.part("what is copied from").str(c.Src)
		return nil
	}
	src, err := k.run.input(ctx, from)
	if err != nil {
		return err
	}
	sel, err := selectSources(ctx, src, c)
	if err != nil {
		return k.run.missingIn(from, err)
	}
	k.part("which files are copied").int(int64(len(sel)))
	for _, m := range sel {
		if err := k.match(ctx, src, c, m); err != nil {
			return err
		}
	}
	return nil
}

func (k *fileKey) match(ctx context.Context, src *draft, c *Copy, m match) error {
	base := path.Base(m.path)
	if m.root.ino.isDir() && c.DirCopyContents {
		base = "" // the copy does not get it
	}
	k.part("the content of " + m.path).str(base)
	option := tree.DigestOption(0)
	if c.Owner != nil {
		option = tree.IgnoreOwner // the copy gives another
	}
	chosen, links := m.nodes()
	sum, err := tree.DigestSelection(ctx, chosen, option)
	if err != nil {
		return err
	}
	k.key(sum).strs(links)
	if !c.AttemptUnpack {
		return nil
	}
	// What is unpacked may be at the other end of a link that is not followed otherwise.
	file, err := unpackable(src, m.path)
	if err != nil {
		return err
	}
	k.bool(file != nil)
	if file == nil {
		return nil
	}
	if sum, err = file.body.Sum(ctx); err != nil {
		return err
	}
	k.key(sum)
	return nil
}

// nodes returns what a match from an input copies, and for each file that is copied under
// several names, these names one after the other.
func (m match) nodes() (chosen []tree.Selected, links []string) {
	names := map[*inode][]string{}
	var linked []*inode
	m.root.walk("", func(p string, pk *pick) {
		chosen = append(chosen, tree.Selected{Name: p, Node: pk.ino.origin})
		if !pk.ino.isRegular() || pk.ino.links < 2 {
			return
		}
		if names[pk.ino] == nil {
			linked = append(linked, pk.ino)
		}
		names[pk.ino] = append(names[pk.ino], p)
	})
	for _, ino := range linked {
		if len(names[ino]) > 1 {
			links = append(append(links, names[ino]...), "")
		}
	}
	return chosen, links
}

// byContent reports whether an index is that of an input whose content counts.
func (r *fileRun) byContent(index int) bool {
	return r.onlyRead(index) && !r.in[index].ByKey
}
