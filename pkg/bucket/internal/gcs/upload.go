package gcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gocloud.dev/blob/driver"
)

const (
	defaultPart = 8 << 20
	// partUnit divides the sizes of all parts but the last (Cloud Storage, "Resumable uploads").
	partUnit = 256 << 10
)

// writer uploads an object: in one request if it is small, else in parts, one after the other. The object
// comes into being with the last one.
type writer struct {
	ctx         context.Context
	bucket      *Bucket
	key         string
	contentType string
	part        []byte // what is to be sent next; as large as a part may be
	sent        int64
	session     string // the URL of the upload; "" before the first part is sent
}

// NewTypedWriter implements driver.Bucket.
func (b *Bucket) NewTypedWriter(ctx context.Context, key, contentType string, o *driver.WriterOptions) (driver.Writer, error) {
	if o.IfNotExist || o.BeforeWrite != nil || len(o.Metadata) > 0 {
		return nil, errUnsupported
	}
	size := o.BufferSize
	if size <= 0 {
		size = defaultPart
	}
	size = max(size/partUnit, 1) * partUnit
	return &writer{ctx: ctx, bucket: b, key: key, contentType: contentType, part: make([]byte, 0, size)}, nil
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(w.part) == cap(w.part) { // and this is not the end
			if err := w.flush(); err != nil {
				return n, err
			}
		}
		m := min(len(p), cap(w.part)-len(w.part))
		w.part = append(w.part, p[:m]...)
		p, n = p[m:], n+m
	}
	return n, nil
}

// Close implements io.Closer: it sends the last part, unless the context has ended.
func (w *writer) Close() error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if w.session == "" {
		return w.sendWhole()
	}
	return w.send(strconv.FormatInt(w.sent+int64(len(w.part)), 10), http.StatusOK, http.StatusCreated)
}

func (w *writer) uploadURL(kind string) string {
	return fmt.Sprintf("%s/upload/storage/v1/b/%s/o?uploadType=%s&name=%s",
		w.bucket.base, url.PathEscape(w.bucket.name), kind, url.QueryEscape(w.key))
}

func (w *writer) sendWhole() error {
	resp, err := w.bucket.do(w.ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, w.uploadURL("media"), bytes.NewReader(w.part))
		if err == nil {
			req.Header.Set("Content-Type", w.contentType)
		}
		return req, err
	}, http.StatusOK)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// flush sends a part that is not the last.
func (w *writer) flush() error {
	if w.session == "" {
		if err := w.start(); err != nil {
			return err
		}
	}
	return w.send("*", http.StatusPermanentRedirect)
}

// start begins the upload.
func (w *writer) start() error {
	header := http.Header{"X-Upload-Content-Type": {w.contentType}}
	resp, err := w.bucket.get(w.ctx, http.MethodPost, w.uploadURL("resumable"), header, http.StatusOK, http.StatusCreated)
	if err != nil {
		return err
	}
	if w.session = resp.Header.Get("Location"); w.session == "" {
		err = errors.New("the server does not say where to send the object to")
	}
	return errors.Join(err, resp.Body.Close())
}

// send sends the part; total is the size of the object, or "*" if it goes on. What the server has not
// kept of the part is sent again.
func (w *writer) send(total string, want ...int) error {
	for attempt := 1; ; attempt++ {
		resp, err := w.put(contentRange(w.sent, len(w.part), total), w.part)
		if err == nil {
			err = w.answered(resp, total, want)
		}
		if err == nil && len(w.part) == 0 {
			return nil
		}
		if err != nil && !passing(w.ctx, err) || attempt == attempts {
			return errors.Join(err, fmt.Errorf("the server has kept only %d bytes", w.sent))
		}
		if err == nil {
			continue // the server took some of it
		}
		if err := w.bucket.wait(w.ctx, attempt); err != nil {
			return err
		}
		done, err := w.resume(want)
		if done || err != nil {
			return err
		}
	}
}

// contentRange says which bytes a request has.
func contentRange(offset int64, size int, total string) string {
	if size == 0 {
		return "bytes */" + total
	}
	return fmt.Sprintf("bytes %d-%d/%s", offset, offset+int64(size)-1, total)
}

func (w *writer) put(bytesRange string, data []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPut, w.session, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Range", bytesRange)
	return w.bucket.client.Do(req)
}

// answered takes from the part what the server says it has kept.
func (w *writer) answered(resp *http.Response, total string, want []int) error {
	if err := check(resp, append(want, http.StatusPermanentRedirect)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusPermanentRedirect { // that is all
		w.keep(int64(len(w.part)))
		return resp.Body.Close()
	}
	if err := errors.Join(w.kept(resp), resp.Body.Close()); err != nil {
		return err
	}
	if len(w.part) == 0 && total != "*" {
		return errors.New("the server waits for more although it has the whole object")
	}
	return nil
}

// kept takes from the part what the header Range of a response says.
func (w *writer) kept(resp *http.Response) error {
	end := int64(0)
	if r := resp.Header.Get("Range"); r != "" {
		_, last, ok := strings.Cut(strings.TrimPrefix(r, "bytes="), "-")
		n, err := strconv.ParseInt(last, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("the server has kept the range %q", r)
		}
		end = n + 1
	}
	if end < w.sent || end > w.sent+int64(len(w.part)) {
		return fmt.Errorf("the server has kept %d bytes, and got %d to %d", end, w.sent, w.sent+int64(len(w.part)))
	}
	w.keep(end - w.sent)
	return nil
}

// keep takes n bytes from the part.
func (w *writer) keep(n int64) {
	w.sent += n
	w.part = w.part[:copy(w.part, w.part[n:])]
}

// resume asks how far the upload is; done says that nothing is left to be sent.
func (w *writer) resume(want []int) (done bool, err error) {
	resp, err := w.bucket.do(w.ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(w.ctx, http.MethodPut, w.session, http.NoBody)
		if err == nil {
			req.Header.Set("Content-Range", "bytes */*")
		}
		return req, err
	}, append(want, http.StatusPermanentRedirect)...)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusPermanentRedirect {
		w.keep(int64(len(w.part)))
		return true, resp.Body.Close()
	}
	return false, errors.Join(w.kept(resp), resp.Body.Close())
}
