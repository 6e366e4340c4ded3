package mounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
)

// scan lists everything in a directory, itself included, as entries of a layer. Sockets are left out, as
// nobody listens to them any more, and so are devices and extended attributes.
func scan(ctx context.Context, dir string) ([]layer.DirFile, error) {
	s := &scanner{names: map[inode]string{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel == "." {
			rel = ""
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return s.add(path, rel, info)
	})
	return s.files, err
}

type inode struct{ dev, ino uint64 }

type scanner struct {
	files []layer.DirFile
	names map[inode]string // the first name of each file that has several
}

func (s *scanner) add(path, rel string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: the filesystem gives no owners", path)
	}
	f := layer.DirFile{Entry: layer.Entry{
		Path: rel, Mode: uint16(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid,
		ModTime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec).UTC(),
	}}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFDIR:
		f.Type = layer.Directory
	case unix.S_IFLNK:
		f.Type = layer.Symlink
		if f.Link, err = os.Readlink(path); err != nil {
			return err
		}
	case unix.S_IFREG:
		f.Type, f.Size = layer.Regular, st.Size
		if f.Stamp, err = layer.StampOf(info); err != nil {
			return err
		}
	case unix.S_IFIFO:
		f.Type = layer.Fifo
	default:
		return nil
	}
	if f.Type != layer.Directory && st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino}
		if first, seen := s.names[id]; seen {
			f.Entry.Type, f.Entry.Link, f.Entry.Size = layer.Hardlink, first, 0
			f.Stamp = layer.Stamp{}
		} else {
			s.names[id] = rel
		}
	}
	s.files = append(s.files, f)
	return nil
}
