package op

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/slipway-build/slipway/pkg/compression"
)

// isArchive reports whether a file is what ADD unpacks: a tar archive, compressed or not, that
// has at least one entry. Only failures to read the file are errors.
func isArchive(ctx context.Context, file content) (_ bool, err error) {
	r, err := file.Open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	watched := &errorReader{r: r}
	z, _, err := compression.NewReader(watched)
	if err == nil {
		_, err = tar.NewReader(z).Next()
		// That it breaks later on is for who unpacks it to find.
		_ = z.Close()
	}
	return err == nil, watched.failure()
}

// errorReader remembers the error of the reader it wraps, to tell a file that cannot be
// read from one that is no archive. Decompressors read it in goroutines of their own.
type errorReader struct {
	r   io.Reader
	mu  sync.Mutex
	err error
}

func (e *errorReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.mu.Lock()
		e.err = err
		e.mu.Unlock()
	}
	return n, err
}

func (e *errorReader) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
