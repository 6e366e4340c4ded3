package registry_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// requireBasic makes a registry ask for a user and password.
func requireBasic(user, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		if ok && u == user && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return true
	}
}

type oneLogin authn.AuthConfig

func (o oneLogin) Candidates(name.Repository) []credentials.Candidate {
	return []credentials.Candidate{credentials.Fixed("the login "+o.Username, authn.AuthConfig(o))}
}

func TestCredentials(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "private:1", imageWith(t, amd64, "secret"))
	s.interceptWith(requireBasic("ann", "right"))
	for name, test := range map[string]struct {
		keys credentials.Source
		ok   bool
	}{
		"none":  {nil, false},
		"wrong": {oneLogin{Username: "ann", Password: "wrong"}, false},
		"right": {oneLogin{Username: "ann", Password: "right"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, registry.Options{Credentials: test.keys})
			_, err := c.Resolve(t.Context(), ref, amd64)
			if test.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if k := kindOf(t, err); k != registry.Unauthorized || !strings.Contains(err.Error(), ref) {
				t.Errorf("kind %d: %v", k, err)
			}
			if strings.Contains(err.Error(), "wrong") {
				t.Errorf("the password is in the message: %v", err)
			}
		})
	}
}

// failing answers the first n requests whose path has part with status.
func failing(n int32, part string, status int, header http.Header) (func(http.ResponseWriter, *http.Request) bool, *atomic.Int32) {
	var seen atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) || seen.Add(1) > n {
			return false
		}
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		return true
	}, &seen
}

func TestPassingFailuresAreRetried(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			s := serve(t)
			ref := s.put(t, "x:1", imageWith(t, amd64, "x"))
			intercept, _ := failing(3, "/manifests/", status, nil)
			s.interceptWith(intercept)
			if _, err := newClient(t, registry.Options{}).Resolve(t.Context(), ref, amd64); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLastingFailures(t *testing.T) {
	for status, want := range map[int]struct {
		kind     registry.Kind
		attempts int32
	}{
		400: {registry.Other, 1},
		403: {registry.Unauthorized, 1},
		404: {registry.NotFound, 1},
		429: {registry.RateLimited, 4},
		500: {registry.Transient, 4},
		503: {registry.Transient, 4},
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			s := serve(t)
			intercept, seen := failing(1000, "/manifests/", status, nil)
			s.interceptWith(intercept)
			_, err := newClient(t, registry.Options{}).Resolve(t.Context(), s.host+"/x:1", amd64)
			if k := kindOf(t, err); k != want.kind {
				t.Errorf("kind %d, want %d: %v", k, want.kind, err)
			}
			if seen.Load() != want.attempts {
				t.Errorf("%d attempts, want %d", seen.Load(), want.attempts)
			}
			var e *registry.Error
			if errors.As(err, &e) && e.Temporary() != (status == 429 || status >= 500) {
				t.Errorf("Temporary is %t", e.Temporary())
			}
		})
	}
}

// What a user asks for counts where it is more than what is usual, in its direction.
func TestRepeats(t *testing.T) {
	for _, test := range []struct{ repeats, want int32 }{{0, 4}, {1, 4}, {6, 7}} {
		s := serve(t)
		intercept, seen := failing(1000, "/manifests/", 503, nil)
		s.interceptWith(intercept)
		c := newClient(t, registry.Options{Pull: registry.Access{Repeats: int(test.repeats)}, Push: registry.Access{Repeats: 20}})
		if _, err := c.Resolve(t.Context(), s.host+"/x:1", amd64); err == nil || seen.Load() != test.want {
			t.Errorf("%d repeats: %d attempts, want %d: %v", test.repeats, seen.Load(), test.want, err)
		}
	}
}

// A manifest that arrives damaged is read again, also by its tag; what a registry merely says wrongly of it is believed in the end.
func TestDamagedManifestIsReadAgain(t *testing.T) {
	for name, test := range map[string]struct {
		damages int32
		digest  string // what the registry says in place of the truth
	}{
		"once":           {damages: 1},
		"twice":          {damages: 2},
		"a wrong digest": {digest: "sha256:" + strings.Repeat("0", 64)},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			image := imageWith(t, amd64, "x")
			ref := s.put(t, "x:1", image)
			var seen atomic.Int32
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/manifests/1") {
					return false
				}
				rec := httptest.NewRecorder()
				s.inner.ServeHTTP(rec, r)
				body := rec.Body.Bytes()
				if n := seen.Add(1); n <= test.damages {
					body = bytes.Replace(body, []byte("sha256"), fmt.Appendf(nil, "sha25%d", n), 1)
				}
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				if test.digest != "" {
					w.Header().Set("Docker-Content-Digest", test.digest)
				}
				_, _ = w.Write(body)
				return true
			})
			img, err := newClient(t, registry.Options{}).Resolve(t.Context(), ref, amd64)
			want, digestErr := image.Digest()
			if digestErr != nil {
				t.Fatal(digestErr)
			}
			if err != nil || img.Digest != want {
				t.Errorf("got %+v, %v", img, err)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "x:1", imageWith(t, amd64, "x"))
	intercept, _ := failing(1, "/manifests/", 429, http.Header{"Retry-After": {"1"}})
	s.interceptWith(intercept)
	var warned atomic.Int32
	c := newClient(t, registry.Options{Warn: func(string) { warned.Add(1) }})
	start := time.Now()
	if _, err := c.Resolve(t.Context(), ref, amd64); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("asked again after %s, the registry wanted 1 s", took)
	}
	if warned.Load() != 1 {
		t.Errorf("%d warnings, want 1", warned.Load())
	}
}

func TestTooLongAPauseIsNotWaitedFor(t *testing.T) {
	s := serve(t)
	intercept, seen := failing(1000, "/manifests/", 429, http.Header{"Retry-After": {"3600"}})
	s.interceptWith(intercept)
	_, err := newClient(t, registry.Options{}).Resolve(t.Context(), s.host+"/x:1", amd64)
	if k := kindOf(t, err); k != registry.RateLimited || seen.Load() != 1 {
		t.Errorf("kind %d after %d attempts: %v", k, seen.Load(), err)
	}
}

func TestCancellationEndsWaiting(t *testing.T) {
	s := serve(t)
	intercept, _ := failing(1000, "/manifests/", 503, nil)
	s.interceptWith(intercept)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c, err := registry.New(ctx, registry.Options{Retry: registry.Retry{Attempts: 100, Base: time.Hour, Max: time.Hour}, State: openState(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(ctx, s.host+"/x:1", amd64); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = newClient(t, registry.Options{}).Resolve(t.Context(), dead+"/x:1", amd64)
	if k := kindOf(t, err); k != registry.Transient || !strings.Contains(err.Error(), dead) {
		t.Errorf("kind %d: %v", k, err)
	}
}

// damaged passes blob requests on and changes the answer's body.
func damaged(s *server, change func(w http.ResponseWriter, r *http.Request, body []byte)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		whole := r.Clone(r.Context())
		whole.Header.Del("Range")
		rec := httptest.NewRecorder()
		s.inner.ServeHTTP(rec, whole)
		change(w, r, rec.Body.Bytes())
		return true
	}
}

// breakOff sends the header for a whole body, a part of it, and closes the connection.
func breakOff(w http.ResponseWriter, body []byte, sent int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body[:sent])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

func readLayer(t *testing.T, c *registry.Client, ref string) (string, error) {
	t.Helper()
	img, err := c.Resolve(t.Context(), ref, amd64)
	if err != nil {
		return "", err
	}
	return read(t.Context(), t, c, &op.Image{Ref: img.Ref, Platform: amd64})
}

func TestCorruptBlob(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "x:1", imageWith(t, amd64, "x"))
	s.interceptWith(damaged(s, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		body[len(body)/2] ^= 1
		_, _ = w.Write(body)
	}))
	_, err := readLayer(t, newClient(t, registry.Options{}), ref)
	if k := kindOf(t, err); k != registry.DigestMismatch || !strings.Contains(err.Error(), "sha256:") {
		t.Errorf("kind %d: %v", k, err)
	}
}

// What arrives damaged now and then is fetched again.
func TestDamagedBlobIsFetchedAgain(t *testing.T) {
	s := serve(t)
	content := strings.Repeat("content ", 1000)
	ref := s.put(t, "x:1", imageWith(t, amd64, content))
	var mu sync.Mutex
	tries := map[string]int{}
	s.interceptWith(damaged(s, func(w http.ResponseWriter, r *http.Request, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		if tries[r.URL.Path]++; tries[r.URL.Path] <= 2 {
			body[len(body)/2] ^= 0x20
		}
		_, _ = w.Write(body)
	}))
	if got, err := readLayer(t, newClient(t, registry.Options{}), ref); err != nil || got != content {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestBlobOfWrongLength(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"longer":  func(b []byte) []byte { return append(b, 'x') },
		"shorter": func(b []byte) []byte { return b[:len(b)-1] },
		"empty":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			ref := s.put(t, "x:1", imageWith(t, amd64, "x"))
			s.interceptWith(damaged(s, func(w http.ResponseWriter, _ *http.Request, body []byte) {
				_, _ = w.Write(change(body))
			}))
			_, err := readLayer(t, newClient(t, registry.Options{}), ref)
			if k := kindOf(t, err); k != registry.DigestMismatch && k != registry.Transient {
				t.Errorf("kind %d: %v", k, err)
			}
		})
	}
}

func TestBrokenDownloadIsResumed(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<12)
	for name, ranges := range map[string]bool{"with ranges": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			ref := s.put(t, "x:1", imageWith(t, amd64, content))
			var mu sync.Mutex
			tries := map[string]int{}
			var asked atomic.Int32
			s.interceptWith(damaged(s, func(w http.ResponseWriter, r *http.Request, body []byte) {
				mu.Lock()
				tries[r.URL.Path]++
				first := tries[r.URL.Path] <= 2
				mu.Unlock()
				if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
					asked.Add(1)
					n, err := strconv.Atoi(strings.TrimSuffix(from, "-"))
					if err != nil {
						t.Error(err)
					}
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(body[n:])
					return
				}
				if first {
					breakOff(w, body, len(body)/2)
				}
				_, _ = w.Write(body)
			}))
			got, err := readLayer(t, newClient(t, registry.Options{}), ref)
			if err != nil || got != content {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if ranges && asked.Load() == 0 {
				t.Error("the download started from the beginning")
			}
		})
	}
}

func TestTruncatedForGood(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "x:1", imageWith(t, amd64, strings.Repeat("x", 1000)))
	s.interceptWith(damaged(s, func(w http.ResponseWriter, _ *http.Request, body []byte) { breakOff(w, body, 0) }))
	_, err := readLayer(t, newClient(t, registry.Options{}), ref)
	if k := kindOf(t, err); k != registry.Transient || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("kind %d: %v", k, err)
	}
}

func TestManifestOfAnotherDigest(t *testing.T) {
	s := serve(t)
	wanted := s.put(t, "x:1", imageWith(t, amd64, "x"))
	c := newClient(t, registry.Options{})
	img, err := c.Resolve(t.Context(), wanted, amd64)
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, "y:1", imageWith(t, amd64, "y"))
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/sha256:") {
			r.URL.Path = "/v2/y/manifests/1"
		}
		return false
	})
	_, err = newClient(t, registry.Options{}).Resolve(t.Context(), img.Ref, amd64)
	if k := kindOf(t, err); k != registry.DigestMismatch {
		t.Errorf("kind %d: %v", k, err)
	}
}

func TestTLS(t *testing.T) {
	s := newServer(t, httptest.NewTLSServer)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		o    registry.Options
		kind registry.Kind // Other for success
	}{
		"unknown CA":       {registry.Options{}, registry.Untrusted},
		"CA given":         {registry.Options{Hosts: map[string]registry.Host{s.host: {CAFile: ca}}}, registry.NotFound},
		"skipped":          {registry.Options{Pull: registry.Access{SkipTLSVerify: true}}, registry.NotFound},
		"skipped for host": {registry.Options{Hosts: map[string]registry.Host{s.host: {Access: registry.Access{SkipTLSVerify: true}}}}, registry.NotFound},
		"skipped for push": {registry.Options{Push: registry.Access{SkipTLSVerify: true}}, registry.Untrusted},
		"skipped elsewhere": {registry.Options{Hosts: map[string]registry.Host{"other": {Access: registry.Access{SkipTLSVerify: true}}}},
			registry.Untrusted},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newClient(t, test.o).Resolve(t.Context(), s.host+"/x:1", amd64)
			if k := kindOf(t, err); k != test.kind {
				t.Errorf("kind %d, want %d: %v", k, test.kind, err)
			}
		})
	}
}

func TestBadTLSFiles(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]registry.Host{
		"missing CA":  {CAFile: junk + "-not-there"},
		"junk CA":     {CAFile: junk},
		"junk client": {CertFile: junk, KeyFile: junk},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, registry.Options{Hosts: map[string]registry.Host{"127.0.0.1:1": h}})
			if _, err := c.Resolve(t.Context(), "127.0.0.1:1/x", amd64); err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := registry.New(t.Context(), registry.Options{Hosts: map[string]registry.Host{"x": {CertFile: junk}}}); err == nil {
		t.Error("a certificate without its key is accepted")
	}
}

func TestRedirectToThisMachineIsRefused(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "x:1", imageWith(t, amd64, "x"))
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		return true
	})
	_, err := newClient(t, registry.Options{}).Resolve(t.Context(), ref, amd64)
	if err == nil || !strings.Contains(err.Error(), "an address of this machine") {
		t.Errorf("got %v", err)
	}
}

// The registry at the other end is plain HTTP, and nobody allowed that.
func TestPlainHTTPNeedsPermission(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "x:1", imageWith(t, amd64, "x"))
	_, port, err := net.SplitHostPort(s.host)
	if err != nil {
		t.Fatal(err)
	}
	// A name that is not loopback by its looks.
	hosts := "localhost.localdomain"
	if _, err := net.DefaultResolver.LookupHost(t.Context(), hosts); err != nil {
		t.Skipf("%s does not resolve here: %v", hosts, err)
	}
	named := strings.Replace(ref, s.host, hosts+":"+port, 1)
	_, err = newClient(t, registry.Options{}).Resolve(t.Context(), named, amd64)
	if k := kindOf(t, err); k != registry.Untrusted {
		t.Errorf("kind %d: %v", k, err)
	}
	allowed := newClient(t, registry.Options{Pull: registry.Access{PlainHTTP: true}})
	if _, err := allowed.Resolve(t.Context(), named, amd64); err != nil {
		t.Error(err)
	}
}
