package op

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
)

// spool keeps the content of unpacked files, one after the other in one temporary file.
type spool struct {
	dir *state.Dir
	f   *os.File // nil until something is added
	w   *bufio.Writer
	end int64
}

// add reads r to its end.
func (s *spool) add(r io.Reader) (spooled, error) {
	if s.f == nil {
		f, err := s.dir.TempFile()
		if err != nil {
			return spooled{}, err
		}
		s.f, s.w = f, bufio.NewWriterSize(f, 256<<10)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(s.w, h), r)
	if err != nil {
		return spooled{}, err
	}
	c := spooled{file: s.f.Name(), offset: s.end, size: n, digest: layer.Sum(h.Sum(nil))}
	s.end += n
	return c, nil
}

// close must be called before what was added is read.
func (s *spool) close() error {
	if s.f == nil {
		return nil
	}
	return errors.Join(s.w.Flush(), s.f.Close())
}

// discard removes what was added.
func (s *spool) discard() error {
	if s.f == nil {
		return nil
	}
	return errors.Join(s.f.Close(), os.Remove(s.f.Name()))
}

// spooled is content in a spool's file.
type spooled struct {
	file         string
	offset, size int64
	digest       layer.Sum
}

func (c spooled) Open(context.Context) (io.ReadCloser, error) {
	f, err := os.Open(c.file)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, c.offset, c.size), f}, nil
}

func (c spooled) Sum(context.Context) (layer.Sum, error) { return c.digest, nil }
