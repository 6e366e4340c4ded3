package cache

import (
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// unreadError says that what was found cannot be read where it was found, which is no fault of the store that should
// get it too.
type unreadError struct{ err error }

func (e *unreadError) Error() string { return e.err.Error() }
func (e *unreadError) Unwrap() error { return e.err }

// foundBlob tells errors in reading it from those in writing.
type foundBlob struct{ v1.Layer }

// Compressed implements v1.Layer.
func (b foundBlob) Compressed() (io.ReadCloser, error) {
	r, err := b.Layer.Compressed()
	if err != nil {
		return nil, &unreadError{err}
	}
	return foundReader{r}, nil
}

type foundReader struct{ io.ReadCloser }

// Read implements io.Reader.
func (r foundReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &unreadError{err}
	}
	return n, err
}
