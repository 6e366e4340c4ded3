package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-build/slipway/pkg/op"
)

// Stream is a file that is read while it comes.
type Stream struct {
	io.ReadCloser
	// ModTime is what the server says of its age; zero if it says nothing.
	ModTime time.Time
	// Counted says that the server tells where the file ends, so that one that breaks off gives an error.
	Counted bool
}

// Open asks for a file and gives it as it comes, without keeping it. Errors, those of reading included, are
// [*op.SourceError]s. The caller closes the stream.
func (c *Client) Open(ctx context.Context, h *op.HTTP) (*Stream, error) {
	u, err := url.Parse(h.URL)
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	name := op.RedactURL(h.URL)
	req, err := c.newRequest(ctx, h, u)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, sourceError(name, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, errors.Join(sourceError(name, &statusError{resp.StatusCode, resp.Status}), resp.Body.Close())
	}
	counted := resp.ContentLength >= 0 || resp.ProtoMajor > 1 || slices.Contains(resp.TransferEncoding, "chunked")
	return &Stream{&streamed{resp.Body, name}, newRecord(resp).modTime(), counted}, nil
}

// streamed says of which source an error is.
type streamed struct {
	io.ReadCloser
	name string
}

func (s *streamed) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = sourceError(s.name, err)
	}
	return n, err
}
