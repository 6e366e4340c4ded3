package layer

import (
	"fmt"
	"io"
	"io/fs"
)

// exactReader gives the content of one entry and checks its length: a source that ends early
// or goes on is an error, never a silently different file.
type exactReader struct {
	io.ReadCloser
	path string
	size int64
	left int64
	// check, if set, is asked once when all bytes have been read.
	check func() error
	err   error
}

func newExactReader(rc io.ReadCloser, path string, size int64, check func() error) *exactReader {
	return &exactReader{ReadCloser: rc, path: path, size: size, left: size, check: check}
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.left == 0 {
		r.err = r.atEnd()
		return 0, r.err
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.ReadCloser.Read(p)
	r.left -= int64(n)
	switch {
	case err == io.EOF && r.left > 0:
		r.err = fmt.Errorf("reading %q: content ends after %d of %d bytes: %w", r.path, r.size-r.left, r.size, io.ErrUnexpectedEOF)
	case err != nil && err != io.EOF:
		r.err = fmt.Errorf("reading %q: %w", r.path, err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// atEnd makes sure that the source has nothing more.
func (r *exactReader) atEnd() error {
	var more [1]byte
	n, err := io.ReadFull(r.ReadCloser, more[:])
	switch {
	case n > 0:
		return fmt.Errorf("reading %q: content is longer than %d bytes", r.path, r.size)
	case err != io.EOF:
		return fmt.Errorf("reading %q: %w", r.path, err)
	}
	if r.check != nil {
		if err := r.check(); err != nil {
			return err
		}
	}
	return io.EOF
}

// regular returns the position of the Regular entry at path, or the error that Layer.Open
// promises.
func (x *Index) regular(path string) (int, error) {
	i, ok := x.Find(path)
	switch {
	case !ok:
		return 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case x.entries[i].Type != Regular:
		return 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	return i, nil
}
