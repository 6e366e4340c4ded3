package op

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"io/fs"
	"syscall"

	"github.com/slipway-build/slipway/pkg/layer"
)

// apply writes the file. Symbolic links are followed, the last component's too; what is at
// the end of them is replaced, not written to, unless it is a directory.
func (m *Mkfile) apply(d *draft, own *ids) error {
	p, err := d.rootPath(m.Path)
	if err != nil {
		return err
	}
	at, err := d.place("mkfile", p)
	if err != nil {
		return err
	}
	if old := d.at(at); old != nil && old.isDir() {
		return &fs.PathError{Op: "mkfile", Path: p, Err: syscall.EISDIR}
	}
	ino := d.make(at.dir, at.name, layer.Entry{
		Type: layer.Regular,
		Mode: uint16(m.Mode & 0o777),
		Size: int64(len(m.Data)),
		Sum:  sha256.Sum256(m.Data),
	})
	ino.body = data(m.Data)
	ino.setOwner(own)
	ino.setTime(m.Timestamp)
	return nil
}

// data is content in memory.
type data []byte

func (d data) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(d)), nil
}

func (d data) Sum(context.Context) (layer.Sum, error) { return sha256.Sum256(d), nil }
