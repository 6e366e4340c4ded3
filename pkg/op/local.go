package op

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Local is a directory or an archive that the user named: the build context, a named context, or
// where the Dockerfile is. Its files become one layer.
type Local struct {
	Name                          string
	Include, Exclude, FollowPaths []string
}

// Key implements Op: the content. It is asked for only where a local source is built upon as
// a whole; a COPY from it counts what it selects.
func (l *Local) Key(ctx context.Context, env *Env, _ []Input) (Key, error) {
	t, err := l.tree(ctx, env)
	if err != nil {
		return Key{}, err
	}
	v, err := t.View(ctx)
	if err != nil {
		return Key{}, err
	}
	sum, err := v.Digest(ctx, "")
	if err != nil {
		return Key{}, fmt.Errorf("local source %s: %w", l.Name, err)
	}
	return newKey("local").key(sum).sum(), nil
}

// Run implements Op.
func (l *Local) Run(ctx context.Context, env *Env, _ []Input) ([]*tree.Tree, error) {
	t, err := l.tree(ctx, env)
	return []*tree.Tree{t}, err
}

func (l *Local) tree(ctx context.Context, env *Env) (*tree.Tree, error) {
	files, ok := env.Locals[l.Name]
	if !ok {
		return nil, fmt.Errorf("there is no build context named %q: add --build-context %s=DIR", l.Name, l.Name)
	}
	made, err := files.selected(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("reading build context %s: %w", l.Name, err)
	}
	return tree.New(made), nil
}

func (l *Local) filter() *fsutil.FilterOpt {
	return &fsutil.FilterOpt{IncludePatterns: l.Include, ExcludePatterns: l.Exclude, FollowPaths: l.FollowPaths}
}

// list walks dir by the rules of the frontend: .dockerignore patterns, and of large contexts only
// what the Dockerfile names.
func (l *Local) list(ctx context.Context, dir string) ([]layer.DirFile, error) {
	base := newHostDir(dir)
	filtered, err := fsutil.NewFilterFS(base, l.filter())
	if err != nil {
		return nil, err
	}
	base.restart()
	var files []layer.DirFile
	err = filtered.Walk(ctx, "", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*types.Stat)
		if !ok {
			return fmt.Errorf("%s: no status", p)
		}
		f, err := base.file(stat)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// file translates what the walk says about one file.
func (d *hostDir) file(s *types.Stat) (layer.DirFile, error) {
	mode := fs.FileMode(s.Mode)
	e := layer.Entry{
		Path:    s.Path,
		Mode:    unixMode(mode),
		ModTime: time.Unix(0, s.ModTime).UTC(),
	}
	for name, value := range s.Xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name] = string(value)
	}
	switch mode.Type() {
	case fs.ModeDir:
		e.Type = layer.Directory
	case fs.ModeSymlink:
		e.Type, e.Link, e.Mode = layer.Symlink, s.Linkname, 0o777
	case fs.ModeNamedPipe:
		e.Type = layer.Fifo
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		e.Type = layer.BlockDevice
		if mode&fs.ModeCharDevice != 0 {
			e.Type = layer.CharDevice
		}
		e.Major, e.Minor = uint32(s.Devmajor), uint32(s.Devminor)
	case 0:
		if s.Linkname != "" {
			e.Type, e.Link = layer.Hardlink, s.Linkname
			break
		}
		e.Type, e.Size = layer.Regular, s.Size
	default:
		return layer.DirFile{}, fmt.Errorf("%s has a type that images can't hold: %s", s.Path, mode.Type())
	}
	return layer.DirFile{Entry: e, Stamp: d.stamps[s.Path]}, nil
}

// unixMode gives the permission bits of m in the encoding of chmod(2).
func unixMode(m fs.FileMode) uint16 {
	bits := uint16(m.Perm())
	for flag, bit := range map[fs.FileMode]uint16{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
