// Package download fetches files from web servers, and keeps them: a file that the server says has
// not changed is not fetched again.
package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
)

// kindFiles are the objects of the state directory that hold content, named by its SHA-256.
const kindFiles = "downloads"

// Options configure a [Client]. All but UserAgent are needed.
type Options struct {
	// Registry lends its connections and its patience.
	Registry  *registry.Client
	UserAgent string
	Secrets   op.Secrets
	State     *state.Dir
}

// Client is all of a build's downloads. It implements op.Downloads.
type Client struct {
	opts Options
	http *http.Client

	mu   sync.Mutex
	done map[string]*op.Download // by op.HTTP.ID
}

var _ op.Downloads = (*Client)(nil)

// New returns the client of one build.
func New(o Options) *Client {
	return &Client{opts: o, http: o.Registry.HTTPClient(), done: map[string]*op.Download{}}
}

// Download implements op.Downloads.
func (c *Client) Download(ctx context.Context, h *op.HTTP) (*op.Download, error) {
	u, err := url.Parse(h.URL)
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	// Of several who want the same file one fetches it, in this build and in others.
	unlock, err := c.opts.State.Lock(ctx, "download-"+h.ID())
	if err != nil {
		return nil, err
	}
	defer unlock()
	c.mu.Lock()
	d := c.done[h.ID()]
	c.mu.Unlock()
	if d == nil {
		if d, err = c.get(ctx, h, u); err != nil {
			return nil, sourceError(op.RedactURL(h.URL), err)
		}
	}
	if !h.Sum.IsZero() && d.Sum != h.Sum {
		return nil, sourceError(op.RedactURL(h.URL), fmt.Errorf("the content has the digest sha256:%x instead of sha256:%x", d.Sum, h.Sum))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[h.ID()] = d
	return d, nil
}

// sourceError says of which source err is.
func sourceError(name string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	// Errors of net/http repeat the URL, with all that is in its query.
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	var status *statusError
	passing := registry.Passing(err)
	if errors.As(err, &status) {
		passing = registry.PassingStatus(status.code)
	}
	return &op.SourceError{Source: name, Passing: passing, Err: err}
}

// get fetches a file, or finds that the kept one will do.
func (c *Client) get(ctx context.Context, h *op.HTTP, u *url.URL) (*op.Download, error) {
	kept := c.recall(h)
	if kept != nil && !h.Sum.IsZero() && kept.sum == h.Sum {
		return c.kept(h, u, kept), nil
	}
	var (
		d       *op.Download
		refused *url.Error // no answer, after as many requests as there should be
	)
	err := c.opts.Registry.Repeat(ctx, func() (err error) {
		d, err = c.request(ctx, h, u, kept)
		if errors.As(err, &refused) {
			return nil
		}
		return err
	})
	if refused != nil {
		err = refused
	}
	return d, err
}

// request asks the server once.
func (c *Client) request(ctx context.Context, h *op.HTTP, u *url.URL, kept *record) (_ *op.Download, err error) {
	req, err := c.newRequest(ctx, h, u)
	if err != nil {
		return nil, err
	}
	if kept != nil && kept.ETag != "" {
		req.Header.Set("If-None-Match", kept.ETag)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	switch {
	case kept != nil && unchanged(resp, kept):
		return c.kept(h, u, kept), nil
	case resp.StatusCode/100 != 2:
		return nil, &statusError{resp.StatusCode, resp.Status}
	}
	r := newRecord(resp)
	if r.sum, r.Size, err = c.keep(resp.Body); err != nil {
		return nil, err
	}
	if err := c.remember(h, r); err != nil {
		return nil, err
	}
	return c.kept(h, u, r), nil
}

// unchanged reports whether the server has what is kept. Some servers give tags and do not heed
// If-None-Match; their answer is not read then.
func unchanged(resp *http.Response, kept *record) bool {
	if resp.StatusCode == http.StatusNotModified {
		return true
	}
	tag := resp.Header.Get("ETag")
	return resp.StatusCode == http.StatusOK && tag != "" && strongTag(tag) == strongTag(kept.ETag)
}

func strongTag(tag string) string { return strings.TrimPrefix(tag, "W/") }

// statusError is an answer that is not the file.
type statusError struct {
	code   int
	status string
}

// Error implements error.
func (e *statusError) Error() string {
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "invalid response status " + e.status + " (credentials are given by the secrets HTTP_AUTH_TOKEN_HOST or HTTP_AUTH_HEADER_HOST)"
	}
	return "invalid response status " + e.status
}

// keep stores content under its digest.
func (c *Client) keep(r io.Reader) (sum layer.Sum, size int64, err error) {
	f, err := c.opts.State.TempFile()
	if err != nil {
		return sum, 0, err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, ignoreAbsence(os.Remove(f.Name())))
		}
	}()
	hash := sha256.New()
	if size, err = io.Copy(io.MultiWriter(f, hash), r); err != nil {
		return sum, 0, err
	}
	sum = layer.Sum(hash.Sum(nil))
	return sum, size, c.opts.State.Publish(kindFiles, hex.EncodeToString(sum[:]), f)
}

func ignoreAbsence(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// kept is the download whose content lies in the state directory.
func (c *Client) kept(h *op.HTTP, u *url.URL, r *record) *op.Download {
	return &op.Download{
		Name: fileName(h.Filename, r.Disposition, u), Size: r.Size, Sum: r.sum,
		ModTime: r.modTime(), Content: content{c.opts.State, hex.EncodeToString(r.sum[:])},
	}
}

// content is an object of the state directory.
type content struct {
	dir  *state.Dir
	name string
}

// Open implements layer.Content.
func (c content) Open(context.Context) (io.ReadCloser, error) {
	f, err := c.dir.Lookup(kindFiles, c.name)
	if err != nil {
		return nil, fmt.Errorf("the downloaded file is no longer in the state directory: %w", err)
	}
	return f, nil
}

// modTime is zero if the server said nothing that can be understood.
func (r *record) modTime() time.Time {
	t, err := http.ParseTime(r.LastModified)
	if err != nil {
		return time.Time{}
	}
	return t
}
