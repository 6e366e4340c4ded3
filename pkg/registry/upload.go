package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// resumable is the size in bytes from which the rest of a blob is sent after a break. A smaller one is
	// sent again sooner than the registry is asked what it has of it.
	resumable = 1 << 20
	// chunkSize is how much is sent at once, in bytes, where a whole blob is too much for the registry or something before it.
	chunkSize = 32 << 20
	// breaks is how often in a row an upload may break without having got on, before it starts again.
	breaks = 3
)

// blobUploads lets an upload of a blob that breaks off go on where it broke (OCI distribution spec, "Pushing a blob in
// chunks"). The library sends a blob as one PATCH request and starts it again when that fails; in here it may become several.
type blobUploads struct {
	inner http.RoundTripper
	retry Retry

	// refused are requests that were answered by 401. The library sends the same again, with
	// another token and what is left of the body.
	refused *sync.Map
}

// RoundTrip implements http.RoundTripper.
func (u blobUploads) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPatch || req.GetBody == nil || req.ContentLength <= 0 {
		return u.inner.RoundTrip(req)
	}
	p := &blobUpload{blobUploads: u, req: req, at: req.URL, body: req.Body}
	if _, again := u.refused.LoadAndDelete(req); again {
		_ = req.Body.Close() // it was closed before
		p.body = nil
	}
	resp, err := p.send()
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		u.refused.Store(req, true)
	}
	return resp, err
}

// brokenUploadError says that an upload broke off, and that the registry cannot go on with it.
type brokenUploadError struct{ err error }

func (e *brokenUploadError) Error() string { return "the upload broke off: " + e.err.Error() }
func (e *brokenUploadError) Unwrap() error { return e.err }

// blobUpload is one blob on its way.
type blobUpload struct {
	blobUploads
	req    *http.Request
	at     *url.URL      // where the next part goes to
	body   io.ReadCloser // for the first part, nil if it is to be opened
	offset int64         // how much the registry has
	limit  int64         // the size of a part, 0 for all that is left
	fails  int           // breaks since the offset grew
}

func (p *blobUpload) send() (*http.Response, error) {
	ctx := p.req.Context()
	for {
		resp, err := p.sendPart(ctx)
		switch {
		case ctx.Err() != nil, err != nil && !passingError(err):
			return resp, err
		case err == nil && resp.StatusCode/100 == 2:
			if p.offset >= p.req.ContentLength {
				return resp, nil
			}
			drain(resp)
			if err := p.relocate(resp); err != nil {
				return nil, err
			}
			continue
		case p.req.ContentLength < resumable:
			return resp, err
		case err == nil && resp.StatusCode == http.StatusRequestEntityTooLarge && p.limit == 0 && p.req.ContentLength > chunkSize:
			drain(resp)
			p.limit = chunkSize
			continue
		case err == nil && !passingStatus(resp.StatusCode):
			return p.refusedPart(resp)
		}
		if p.fails++; p.fails >= breaks {
			return resp, err
		}
		cause := brokenBy(resp, err)
		if err := p.goOn(ctx); err != nil {
			return nil, &brokenUploadError{fmt.Errorf("%w; going on with it: %w", cause, err)}
		}
		if p.offset >= p.req.ContentLength {
			return p.complete(), nil
		}
	}
}

// brokenBy is what an upload broke off for, as an error; an answer is not needed any more.
func brokenBy(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	err = transport.CheckError(resp)
	_ = resp.Body.Close() // it held the error
	return err
}

// refusedPart is the end of an upload that the registry does not want as it is sent: in parts, it may still want the whole.
func (p *blobUpload) refusedPart(resp *http.Response) (*http.Response, error) {
	if p.offset == 0 && p.limit == 0 || resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return resp, nil
	}
	return nil, &brokenUploadError{brokenBy(resp, nil)}
}

// sendPart sends the next part, and if it arrives moves the offset behind it.
func (p *blobUpload) sendPart(ctx context.Context) (*http.Response, error) {
	n := p.req.ContentLength - p.offset
	if p.limit > 0 {
		n = min(n, p.limit)
	}
	open := func() (io.ReadCloser, error) { return p.open(p.offset, n) }
	body := p.body
	if p.body = nil; body == nil {
		var err error
		if body, err = open(); err != nil {
			return nil, err
		}
	}
	part := p.req.Clone(ctx)
	part.URL, part.Host = p.at, p.at.Host
	part.Body, part.GetBody, part.ContentLength = body, open, n
	if p.offset > 0 || p.limit > 0 {
		part.Header.Set("Content-Range", fmt.Sprintf("%d-%d", p.offset, p.offset+n-1))
	}
	resp, err := p.inner.RoundTrip(part)
	if err == nil && resp.StatusCode/100 == 2 {
		p.offset += n
		p.fails = 0
	}
	return resp, err
}

// open opens n bytes of the blob from offset on.
func (p *blobUpload) open(offset, n int64) (io.ReadCloser, error) {
	body, err := p.req.GetBody()
	if err != nil {
		return nil, err
	}
	if s, ok := body.(io.Seeker); ok {
		_, err = s.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, body, offset)
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return joinedCloser{io.LimitReader(body, n), body}, nil
}

// goOn waits, and asks the registry how much it has.
func (p *blobUpload) goOn(ctx context.Context) error {
	if err := p.retry.wait(ctx, p.fails); err != nil {
		return err
	}
	ask := p.req.Clone(ctx)
	ask.Method, ask.URL, ask.Host = http.MethodGet, p.at, p.at.Host
	ask.Body, ask.GetBody, ask.ContentLength = nil, nil, 0
	ask.Header.Del("Content-Type")
	resp, err := p.inner.RoundTrip(ask)
	if err != nil {
		return err
	}
	defer drain(resp)
	if err := transport.CheckError(resp, http.StatusNoContent, http.StatusOK, http.StatusAccepted); err != nil {
		return err
	}
	got, err := received(resp.Header.Get("Range"))
	if err != nil {
		return err
	}
	if got > p.req.ContentLength {
		return fmt.Errorf("the registry says it has %d of %d bytes", got, p.req.ContentLength)
	}
	if got > p.offset {
		p.fails = 0
	} else if p.req.ContentLength-got > chunkSize {
		p.limit = chunkSize // what does not get through as a whole may do so in parts
	}
	p.offset = got
	return p.relocate(resp)
}

// received reads how many bytes a registry has, "0-99" for a hundred. As what has none of them says "0-0", one
// byte counts as none.
func received(header string) (int64, error) {
	from, to, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	last, err := strconv.ParseInt(to, 10, 64)
	if !ok || err != nil || from != "0" || last < 0 {
		return 0, fmt.Errorf("the registry does not say what it has: Range %q", header)
	}
	if last == 0 {
		return 0, nil
	}
	return last + 1, nil
}

// relocate follows the registry to where the next part goes to.
func (p *blobUpload) relocate(resp *http.Response) error {
	location, err := uploadLocation(p.at, resp)
	if err != nil {
		return err
	}
	p.at = location
	return nil
}

// uploadLocation is where an upload that is at one place goes on, by the registry's answer. That is the same host: it gets
// the credentials.
func uploadLocation(at *url.URL, resp *http.Response) (*url.URL, error) {
	header := resp.Header.Get("Location")
	location, err := url.Parse(header)
	if err != nil {
		return nil, fmt.Errorf("the upload goes on at %q: %w", header, err)
	}
	if location = at.ResolveReference(location); location.Host != at.Host || location.Scheme != at.Scheme {
		return nil, fmt.Errorf("the upload goes on at another host, %s", location.Host)
	}
	return location, nil
}

// complete is the answer to the last part that was lost.
func (p *blobUpload) complete() *http.Response {
	return &http.Response{
		Status: "202 Accepted", StatusCode: http.StatusAccepted, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Location": {p.at.String()}}, Body: http.NoBody, Request: p.req,
	}
}
