package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// retryTransport repeats requests that failed for a reason that may pass. A registry that asks
// for a pause gets it from all requests, also from those that were not refused yet.
type retryTransport struct {
	inner http.RoundTripper
	retry Retry
	warn  func(string)

	// pauses maps a host to the time.Time before which it wants no request; all
	// transports of a client share it.
	pauses *sync.Map
}

// RoundTrip implements http.RoundTripper.
func (t *retryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	for attempt := 1; ; attempt++ {
		if err := t.waitForPause(ctx, req.URL.Host); err != nil {
			return nil, err
		}
		resp, err := t.inner.RoundTrip(req)
		pause := t.notePause(req, resp)
		if attempt >= t.retry.Attempts || pause > t.retry.Max || !repeatable(req) || !passing(resp, err) {
			return resp, err
		}
		if resp != nil {
			drain(resp)
		}
		next, err := rewind(req)
		if err != nil {
			return nil, err
		}
		req = next
		if err := t.retry.wait(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

// wait sleeps before the attempt after the given one, counted from 1.
func (r Retry) wait(ctx context.Context, attempt int) error {
	d := min(r.Base<<min(attempt-1, 16), r.Max)
	return sleep(ctx, d/2+rand.N(d/2+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *retryTransport) waitForPause(ctx context.Context, host string) error {
	until, ok := t.pauses.Load(host)
	if !ok {
		return nil
	}
	return sleep(ctx, max(0, time.Until(until.(time.Time))))
}

// notePause remembers the pause that a response asks for, if we would keep it, and returns it.
func (t *retryTransport) notePause(req *http.Request, resp *http.Response) time.Duration {
	if resp == nil || !passingStatus(resp.StatusCode) {
		return 0
	}
	pause := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	if pause > 0 && pause <= t.retry.Max {
		t.pauses.Store(req.URL.Host, time.Now().Add(pause))
		t.warn(fmt.Sprintf("%s answered %q and asks for a pause of %s", req.URL.Host, resp.Status, pause.Round(time.Second)))
	}
	return pause
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date. Anything
// else is no wish.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// repeatable reports whether a request can be sent twice. The bytes of a blob cannot: what
// part of them the registry took is unknown, so the upload as a whole starts again.
func repeatable(req *http.Request) bool {
	return req.Method != http.MethodPatch && (req.Body == nil || req.Body == http.NoBody || req.GetBody != nil)
}

func rewind(req *http.Request) (*http.Request, error) {
	if req.GetBody == nil {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	next := req.Clone(req.Context())
	next.Body = body
	return next, nil
}

// drain lets the connection be used again, unless the rest of the answer is long.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

func passing(resp *http.Response, err error) bool {
	if err != nil {
		return passingError(err)
	}
	return passingStatus(resp.StatusCode)
}

func passingStatus(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		499, 520, 521, 522, 523, 524: // nginx: client closed; Cloudflare: origin unreachable
		return true
	}
	return false
}

// passingError reports whether a network error may be gone at the next attempt.
func passingError(err error) bool {
	var (
		dns    *net.DNSError
		netErr net.Error
		record tls.RecordHeaderError
		trust  *tls.CertificateVerificationError
		ca     x509.UnknownAuthorityError
		digest *digestError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &record), errors.As(err, &trust), errors.As(err, &ca), errors.As(err, &digest):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNABORTED),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.Is(err, net.ErrClosed):
		return true
	}
	return errors.As(err, &netErr) && netErr.Timeout()
}

// isBrokenUpload reports whether err ended the upload of a blob in a way that starting it
// again may mend. Other requests have been repeated already.
func isBrokenUpload(err error) bool {
	var given *brokenUploadError
	if errors.As(err, &given) {
		return true
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		if answer.Request == nil {
			return false
		}
		switch answer.Request.Method {
		case http.MethodPatch:
			return passingStatus(answer.StatusCode) || answer.StatusCode == http.StatusNotFound ||
				answer.StatusCode == http.StatusRequestedRangeNotSatisfiable
		case http.MethodPut: // a commit that was repeated after it had succeeded, or of what arrived damaged
			return !isManifestPut(answer.Request) && (answer.StatusCode == http.StatusNotFound || arrivedDamaged(answer))
		}
		return false
	}
	var broken *url.Error
	if !errors.As(err, &broken) || broken.Op != "Patch" {
		return false
	}
	var damaged *digestError // of what we read to send it on
	return passingError(broken.Err) || errors.As(err, &damaged)
}

// arrivedDamaged reports whether a registry found that it has not got what was sent.
func arrivedDamaged(e *transport.Error) bool {
	return slices.ContainsFunc(e.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.DigestInvalidErrorCode || d.Code == transport.SizeInvalidErrorCode || d.Code == transport.BlobUploadInvalidErrorCode
	})
}
