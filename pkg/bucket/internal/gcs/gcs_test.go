package gcs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/slipway-build/slipway/pkg/bucket/internal/gcs"
)

const unit = 256 << 10

// server is a storage service with one object, which fails as a test wants.
type server struct {
	t *testing.T
	// keeps says how much of a part, the how manieth request, the server keeps before it fails; -1 for no failure.
	keeps func(request, size int) int

	mu       sync.Mutex
	requests []string
	parts    int
	data     []byte
	object   []byte
	fail     int // the status of all answers, if it is not 0
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.Header.Get("Content-Range"))
	switch {
	case s.fail != 0:
		w.WriteHeader(s.fail)
		fmt.Fprint(w, `{"error":{"code":0,"message":"the reason"}}`)
	case r.URL.Query().Get("uploadType") == "resumable":
		w.Header().Set("Location", "http://"+r.Host+"/session")
	case r.URL.Query().Get("uploadType") == "media":
		s.object = s.read(r)
	case r.URL.Path == "/session":
		s.part(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *server) read(r *http.Request) []byte {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	return data
}

// part takes a part, or answers how much there is.
func (s *server) part(w http.ResponseWriter, r *http.Request) {
	content, total, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "/")
	data := s.read(r)
	if content != "*" {
		begin, _, _ := strings.Cut(content, "-")
		if at, err := strconv.Atoi(begin); err != nil || at != len(s.data) {
			s.t.Errorf("a part begins at %q, and %d bytes are there", begin, len(s.data))
		}
		s.parts++
		if n := s.keeps(s.parts, len(data)); n >= 0 {
			s.data = append(s.data, data[:n]...)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.data = append(s.data, data...)
	}
	if total == strconv.Itoa(len(s.data)) {
		s.object = s.data
		return
	}
	if len(s.data) > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(s.data)-1))
	}
	w.WriteHeader(http.StatusPermanentRedirect)
}

func start(t *testing.T, s *server) *blob.Bucket {
	t.Helper()
	s.t = t
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	driver := gcs.Open(http.DefaultClient, h.URL, "bucket")
	driver.FirstWait = 4
	b := blob.NewBucket(driver)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestUpload(t *testing.T) {
	never := func(int, int) int { return -1 }
	for _, test := range []struct {
		name     string
		size     int
		keeps    func(request, size int) int
		requests string
	}{
		{"nothing", 0, never, "POST "},
		{"less than a part", 1000, never, "POST "},
		{"exactly one part", unit, never, "POST "},
		{"two parts", unit + 1, never, "POST , PUT bytes 0-262143/*, PUT bytes 262144-262144/262145"},
		{"exactly two parts", 2 * unit, never, "POST , PUT bytes 0-262143/*, PUT bytes 262144-524287/524288"},
		{"a part fails before anything is kept", unit + 1, func(request, _ int) int {
			if request == 1 {
				return 0
			}
			return -1
		}, "POST , PUT bytes 0-262143/*, PUT bytes */*, PUT bytes 0-262143/*, PUT bytes 262144-262144/262145"},
		{"a part fails halfway", unit + 1, func(request, size int) int {
			if request == 1 {
				return size / 2
			}
			return -1
		}, "POST , PUT bytes 0-262143/*, PUT bytes */*, PUT bytes 131072-262143/*, PUT bytes 262144-262144/262145"},
		{"the last part fails", unit + 2, func(request, _ int) int {
			if request == 2 {
				return 1
			}
			return -1
		}, "POST , PUT bytes 0-262143/*, PUT bytes 262144-262145/262146, PUT bytes */*, PUT bytes 262145-262145/262146"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &server{keeps: test.keeps}
			b := start(t, s)
			content := bytes.Repeat([]byte("0123456789"), test.size/10+1)[:test.size]
			if err := b.WriteAll(t.Context(), "key", content, &blob.WriterOptions{BufferSize: unit}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.object, content) {
				t.Errorf("the object has %d bytes and is not what was written", len(s.object))
			}
			if got := strings.Join(s.requests, ", "); got != test.requests {
				t.Errorf("the requests are\n%s\ninstead of\n%s", got, test.requests)
			}
		})
	}
}

func TestUploadThatKeepsFailing(t *testing.T) {
	s := &server{keeps: func(int, int) int { return 0 }}
	b := start(t, s)
	err := b.WriteAll(t.Context(), "key", make([]byte, 2*unit), &blob.WriterOptions{BufferSize: unit})
	if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") || s.object != nil {
		t.Errorf("the error is %v, the object has %d bytes", err, len(s.object))
	}
}

func TestErrors(t *testing.T) {
	for status, want := range map[int]struct {
		code     gcerrors.ErrorCode
		requests int
	}{
		http.StatusNotFound:            {gcerrors.NotFound, 1},
		http.StatusForbidden:           {gcerrors.PermissionDenied, 1},
		http.StatusUnauthorized:        {gcerrors.PermissionDenied, 1},
		http.StatusTooManyRequests:     {gcerrors.ResourceExhausted, 5},
		http.StatusInternalServerError: {gcerrors.Unknown, 5},
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			s := &server{fail: status}
			_, err := start(t, s).Attributes(t.Context(), "key")
			if gcerrors.Code(err) != want.code || !strings.Contains(fmt.Sprint(err), "the reason") || len(s.requests) != want.requests {
				t.Errorf("after %d requests the error is %v", len(s.requests), err)
			}
		})
	}
}

// TestList reads a list of two pages.
func TestList(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("prefix") != "a/" || r.URL.Path != "/storage/v1/b/bucket/o" {
			t.Errorf("the request is %s", r.URL)
		}
		if q.Get("pageToken") == "" {
			fmt.Fprint(w, `{"nextPageToken":"2","items":[{"name":"a/1","size":"1","updated":"2026-01-02T03:04:05Z"}]}`)
			return
		}
		fmt.Fprint(w, `{"items":[{"name":"a/2","size":"22"}]}`)
	}))
	t.Cleanup(h.Close)
	b := blob.NewBucket(gcs.Open(http.DefaultClient, h.URL, "bucket"))
	it := b.List(&blob.ListOptions{Prefix: "a/"})
	var got []string
	for {
		o, err := it.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d %d", o.Key, o.Size, max(0, o.ModTime.Unix())))
	}
	if want := "a/1 1 1767323045, a/2 22 0"; strings.Join(got, ", ") != want {
		t.Errorf("the list is %q instead of %q", got, want)
	}
}
