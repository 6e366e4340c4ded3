package op

import (
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
)

// apply makes the directory. Symbolic links are followed, the last component's too. A
// directory that exists keeps its metadata; without MakeParents anything that exists is left alone,
// as in BuildKit.
func (m *Mkdir) apply(d *draft, own *ids) error {
	p, err := d.rootPath(m.Path)
	if err != nil {
		return err
	}
	mode := uint16(m.Mode & 0o777)
	if m.MakeParents {
		_, err := d.mkdirAll(p, mode, own, m.Timestamp)
		return err
	}
	at, err := d.place("mkdir", p)
	if err != nil {
		return err
	}
	if d.at(at) != nil {
		return nil
	}
	ino := d.make(at.dir, at.name, layer.Entry{Type: layer.Directory, Mode: mode})
	ino.setOwner(own)
	ino.setTime(m.Timestamp)
	return nil
}

// mkdirAll makes the directory p, absolute, clean and without links, and its missing parents,
// all alike; existing ones are left alone. Nil for own or tm leaves what the system would
// set: root and now.
func (d *draft) mkdirAll(p string, mode uint16, own *ids, tm *time.Time) (*inode, error) {
	dir, at := d.root, "/"
	for rest := p[1:]; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		at = path.Join(at, name)
		ino := d.child(dir, name)
		if ino == nil {
			ino = d.make(dir, name, layer.Entry{Type: layer.Directory, Mode: mode})
			ino.edit().Mode = mode // not the setgid bit of the parent
			ino.setOwner(own)
			ino.setTime(tm)
		}
		if !ino.isDir() {
			return nil, &fs.PathError{Op: "mkdir", Path: at, Err: syscall.ENOTDIR}
		}
		dir = ino
	}
	return dir, nil
}

func (ino *inode) setOwner(own *ids) {
	if own == nil {
		return
	}
	e := ino.edit()
	e.UID, e.GID = own.uid, own.gid
}

func (ino *inode) setTime(tm *time.Time) {
	if tm != nil {
		ino.edit().ModTime = tm.UTC()
	}
}
