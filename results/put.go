package results

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// putAttempts is how often a digest is sent to a URL before the build fails.
const putAttempts = 4

// PutError is the answer of a server that did not take a digest.
type PutError struct {
	// Host is the server; the rest of the URL may be a credential and is not shown.
	Host string
	// Status is the HTTP status code, 0 if there was no answer.
	Status int
	// Err is why there was no answer, nil if there was one.
	Err error
}

// Error implements error.
func (e *PutError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("sending the digest to %s: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("sending the digest to %s: HTTP status %d %s", e.Host, e.Status, http.StatusText(e.Status))
}

// Unwrap returns why there was no answer.
func (e *PutError) Unwrap() error { return e.Err }

// Temporary reports whether the same request may succeed later.
func (e *PutError) Temporary() bool {
	return e.Err != nil || e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

// put sends content to a URL, usually one that a bucket has signed in advance, and tries again
// after pauses of 1, 2 and 4 times pause while the failure may pass.
func put(ctx context.Context, client *http.Client, target *url.URL, content string, pause time.Duration) error {
	for attempt := 1; ; attempt++ {
		err := putOnce(ctx, client, target, content)
		if err == nil {
			return nil
		}
		if attempt == putAttempts || !err.Temporary() {
			return err
		}
		select {
		case <-ctx.Done():
			return &PutError{Host: target.Host, Err: context.Cause(ctx)}
		case <-time.After(pause << (attempt - 1)):
		}
	}
}

func putOnce(ctx context.Context, client *http.Client, target *url.URL, content string) *PutError {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, target.String(), strings.NewReader(content))
	if err != nil {
		return &PutError{Host: target.Host, Err: withoutURL(err)}
	}
	request.Header.Set("Content-Type", "text/plain")
	response, err := client.Do(request)
	if err != nil {
		return &PutError{Host: target.Host, Err: withoutURL(err)}
	}
	defer response.Body.Close()
	// Reading the answer to its end lets a retry use the same connection.
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)); err != nil {
		return &PutError{Host: target.Host, Err: err}
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &PutError{Host: target.Host, Status: response.StatusCode}
	}
	return nil
}

// withoutURL strips the URL, which may hold a signature, from an error of net/http.
func withoutURL(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}
