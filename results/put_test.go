package results

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// bucket is a server that gives the statuses in turn, the last one for ever, and remembers
// what it was sent.
type bucket struct {
	*httptest.Server
	calls  atomic.Int32
	method string
	ctype  string
	body   string
}

func newBucket(t *testing.T, statuses ...int) *bucket {
	b := &bucket{}
	b.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(b.calls.Add(1))
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the request: %v", err)
		}
		b.method, b.ctype, b.body = r.Method, r.Header.Get("Content-Type"), string(body)
		w.WriteHeader(statuses[min(n, len(statuses))-1])
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *bucket) url(t *testing.T, path string) *url.URL {
	t.Helper()
	u, err := url.Parse(b.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPut(t *testing.T) {
	tests := []struct {
		name     string
		statuses []int
		calls    int32
		status   int // of the error, 0 for none
	}{
		{"taken at once", []int{200}, 1, 0},
		{"created", []int{201}, 1, 0},
		{"taken after trouble", []int{503, 429, 204}, 3, 0},
		{"forbidden is final", []int{403, 200}, 1, 403},
		{"expired signature is final", []int{400, 200}, 1, 400},
		{"trouble without end", []int{500}, putAttempts, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBucket(t, tt.statuses...)
			err := put(t.Context(), b.Client(), b.url(t, "/digest?sig=s3cret"), digest, time.Microsecond)
			if got := b.calls.Load(); got != tt.calls {
				t.Errorf("%d requests, want %d", got, tt.calls)
			}
			if b.method != http.MethodPut || b.body != digest || b.ctype != "text/plain" {
				t.Errorf("the server got %s %q of type %q", b.method, b.body, b.ctype)
			}
			var failed *PutError
			switch {
			case tt.status == 0 && err != nil:
				t.Fatal(err)
			case tt.status != 0 && (!errors.As(err, &failed) || failed.Status != tt.status):
				t.Fatalf("error %v, want status %d", err, tt.status)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the URL's signature: %v", err)
			}
		})
	}
}

func TestPutWithoutServer(t *testing.T) {
	b := newBucket(t, 200)
	target := b.url(t, "/digest?sig=s3cret")
	b.Close()
	err := put(t.Context(), b.Client(), target, digest, time.Microsecond)
	var failed *PutError
	if !errors.As(err, &failed) || !failed.Temporary() {
		t.Fatalf("error %v, want a temporary PutError", err)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error shows the URL's signature: %v", err)
	}
}

func TestPutStopsWhenCancelled(t *testing.T) {
	b := newBucket(t, 503)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	err := put(ctx, b.Client(), b.url(t, "/"), digest, time.Hour)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
