// Package gcs is a Go CDK driver for Google Cloud Storage over its JSON API
// (https://cloud.google.com/storage/docs/json_api): as much of one as Slipway needs. The Go CDK's own is made of
// Google's client, which would double the size of the program.
package gcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// Bucket implements driver.Bucket.
type Bucket struct {
	// FirstWait is how long a request waits after its first failure; it doubles with each further one.
	FirstWait time.Duration

	client *http.Client
	base   string // "https://storage.googleapis.com"
	name   string
}

var _ driver.Bucket = (*Bucket)(nil)

// Open makes the driver of a bucket. The client adds the credentials to requests, which go to base,
// "https://storage.googleapis.com" or an emulator.
func Open(client *http.Client, base, name string) *Bucket {
	direct := *client
	// "308 Resume Incomplete" is no redirection, and the API has no others.
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Bucket{250 * time.Millisecond, &direct, strings.TrimSuffix(base, "/"), name}
}

// StatusError is an answer that is no success.
type StatusError struct {
	Code    int
	message string
}

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the server answered %d %s: %s", e.Code, http.StatusText(e.Code), e.message))
}

// errUnsupported is what nobody here asks for.
var errUnsupported = errors.New("not supported")

// attempts is how often a request is made altogether.
const attempts = 5

// do makes a request until it succeeds or fails for good, and returns the response if its status is one of
// those that are wanted. request makes the request anew for each attempt.
func (b *Bucket) do(ctx context.Context, request func() (*http.Request, error), want ...int) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		req, err := request()
		if err != nil {
			return nil, err
		}
		resp, err := b.client.Do(req.WithContext(ctx))
		if err == nil {
			if err = check(resp, want); err == nil {
				return resp, nil
			}
		}
		if attempt == attempts || !passing(ctx, err) {
			return nil, err
		}
		if err := b.wait(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

// check turns the response into an error, unless its status is wanted.
func check(resp *http.Response, want []int) error {
	for _, code := range want {
		if resp.StatusCode == code {
			return nil
		}
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	err = errors.Join(err, resp.Body.Close())
	var answer struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	message := string(text)
	if json.Unmarshal(text, &answer) == nil && answer.Error.Message != "" {
		message = answer.Error.Message
	}
	return errors.Join(&StatusError{resp.StatusCode, message}, err)
}

// passing reports whether another attempt may succeed (Cloud Storage, "Retry strategy").
func passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code == http.StatusRequestTimeout || status.Code == http.StatusTooManyRequests || status.Code >= 500
	}
	var broken *url.Error
	return errors.As(err, &broken)
}

// wait waits before the attempt after the given one; half of the time is random.
func (b *Bucket) wait(ctx context.Context, attempt int) error {
	d := b.FirstWait << (attempt - 1)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d/2 + rand.N(d/2)):
		return nil
	}
}

// get makes a request without a body.
func (b *Bucket) get(ctx context.Context, method, url string, header http.Header, want ...int) (*http.Response, error) {
	return b.do(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err == nil && header != nil {
			req.Header = header
		}
		return req, err
	}, want...)
}

// object is the URL of an object.
func (b *Bucket) object(key string) string { return b.objects() + "/" + url.PathEscape(key) }

func (b *Bucket) objects() string { return b.base + "/storage/v1/b/" + url.PathEscape(b.name) + "/o" }

// resource is what the API says of an object.
type resource struct {
	Name        string    `json:"name"`
	Size        string    `json:"size"`
	Updated     time.Time `json:"updated"`
	ContentType string    `json:"contentType"`
}

func (r *resource) size() (int64, error) {
	n, err := strconv.ParseInt(r.Size, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the size of %q is %q", r.Name, r.Size)
	}
	return n, nil
}

// decode reads a JSON document.
func decode(resp *http.Response, into any) error {
	return errors.Join(json.NewDecoder(resp.Body).Decode(into), resp.Body.Close())
}

// Attributes implements driver.Bucket.
func (b *Bucket) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	resp, err := b.get(ctx, http.MethodGet, b.object(key), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var r resource
	if err := decode(resp, &r); err != nil {
		return nil, err
	}
	size, err := r.size()
	return &driver.Attributes{Size: size, ModTime: r.Updated, ContentType: r.ContentType}, err
}

// ListPaged implements driver.Bucket.
func (b *Bucket) ListPaged(ctx context.Context, o *driver.ListOptions) (*driver.ListPage, error) {
	if o.Delimiter != "" {
		return nil, errUnsupported
	}
	q := url.Values{"prefix": {o.Prefix}, "fields": {"nextPageToken,items(name,size,updated)"}}
	if o.PageSize > 0 {
		q.Set("maxResults", strconv.Itoa(o.PageSize))
	}
	if len(o.PageToken) > 0 {
		q.Set("pageToken", string(o.PageToken))
	}
	resp, err := b.get(ctx, http.MethodGet, b.objects()+"?"+q.Encode(), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Items []resource `json:"items"`
		Next  string     `json:"nextPageToken"`
	}
	if err := decode(resp, &answer); err != nil {
		return nil, err
	}
	page := &driver.ListPage{NextPageToken: []byte(answer.Next)}
	for _, r := range answer.Items {
		size, err := r.size()
		if err != nil {
			return nil, err
		}
		page.Objects = append(page.Objects, &driver.ListObject{Key: r.Name, ModTime: r.Updated, Size: size, AsFunc: no})
	}
	return page, nil
}

func no(any) bool { return false }

// reader implements driver.Reader.
type reader struct {
	io.ReadCloser
	attrs driver.ReaderAttributes
}

func (r *reader) Attributes() *driver.ReaderAttributes { return &r.attrs }
func (r *reader) As(any) bool                          { return false }

// NewRangeReader implements driver.Bucket, for whole objects.
func (b *Bucket) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	if offset != 0 || length >= 0 {
		return nil, errUnsupported
	}
	// Asking for "gzip" keeps the server from decompressing what is stored as such.
	header := http.Header{"Accept-Encoding": {"gzip"}}
	resp, err := b.get(ctx, http.MethodGet, b.object(key)+"?alt=media", header, http.StatusOK) //nolint:bodyclose // the reader's Close does
	if err != nil {
		return nil, err
	}
	return &reader{resp.Body, driver.ReaderAttributes{Size: resp.ContentLength, ContentType: resp.Header.Get("Content-Type")}}, nil
}

// Delete implements driver.Bucket.
func (b *Bucket) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	resp, err := b.get(ctx, http.MethodDelete, b.object(key), nil, http.StatusNoContent, http.StatusOK)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// ErrorCode implements driver.Bucket.
func (b *Bucket) ErrorCode(err error) gcerrors.ErrorCode {
	var status *StatusError
	switch {
	case errors.Is(err, errUnsupported):
		return gcerrors.Unimplemented
	case !errors.As(err, &status):
		return gcerrors.Unknown
	case status.Code == http.StatusNotFound:
		return gcerrors.NotFound
	case status.Code == http.StatusUnauthorized, status.Code == http.StatusForbidden:
		return gcerrors.PermissionDenied
	case status.Code == http.StatusTooManyRequests:
		return gcerrors.ResourceExhausted
	}
	return gcerrors.Unknown
}

// As implements driver.Bucket.
func (b *Bucket) As(any) bool { return false }

// ErrorAs implements driver.Bucket.
func (b *Bucket) ErrorAs(err error, into any) bool { return errors.As(err, into) }

// Copy implements driver.Bucket.
func (b *Bucket) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errUnsupported
}

// SignedURL implements driver.Bucket.
func (b *Bucket) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errUnsupported
}

// Close implements driver.Bucket.
func (b *Bucket) Close() error { return nil }
