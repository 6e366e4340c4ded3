package download_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/download"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
)

// secrets are values by id.
type secrets map[string]string

func (s secrets) Secret(_ context.Context, id string) ([]byte, error) {
	v, ok := s[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(v), nil
}

// site is a web server that notes what it is asked.
type site struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

func serve(t *testing.T, handler http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Clone(context.WithoutCancel(r.Context())))
		s.mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *site) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func openState(t *testing.T, path string) *state.Dir {
	t.Helper()
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newClient is the client of a build with the state directory at path.
func newClient(t *testing.T, path string, s secrets) *download.Client {
	t.Helper()
	dir := openState(t, path)
	r, err := registry.New(t.Context(), registry.Options{
		State: dir, Retry: registry.Retry{Attempts: 3, Base: time.Millisecond, Max: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return download.New(download.Options{Registry: r, UserAgent: "slipway/test", Secrets: s, State: dir})
}

func read(t *testing.T, d *op.Download) string {
	t.Helper()
	f, err := d.Content.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != d.Size || sha256.Sum256(data) != d.Sum {
		t.Errorf("%d bytes with sum %x, not as in %+v", len(data), sha256.Sum256(data), d)
	}
	return string(data)
}

func TestDownload(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", "Mon, 05 May 2025 05:05:05 GMT")
		fmt.Fprint(w, "content")
	})
	c := newClient(t, t.TempDir(), nil)
	h := &op.HTTP{URL: s.URL + "/a/file.txt", Sum: sha256.Sum256([]byte("content")), Header: map[string]string{"Accept": "text/x"}}
	d, err := c.Download(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, d); got != "content" || d.Name != "file.txt" || d.ModTime.Unix() != 1746421505 {
		t.Errorf("got %q, %+v", got, d)
	}
	if r := s.last(); r.UserAgent() != "slipway/test" || r.Header.Get("Accept") != "text/x" || r.Header.Get("Authorization") != "" {
		t.Errorf("headers %v", r.Header)
	}
	if _, err := c.Download(t.Context(), h); err != nil || s.count() != 1 {
		t.Errorf("again in the same build: %v, %d requests", err, s.count())
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ path, wanted, disposition, want string }{
		{"/a/b.tar?x=/y", "", "", "b.tar"},
		{"/a%2fb", "", "", "b"},
		{"/a/", "", "", "a"},
		{"/", "", "", "download"},
		{"", "", "", "download"},
		{"/a", "named", `attachment; filename="other"`, "named"},
		{"/a", "", `attachment; filename="other name"`, "other name"},
		{"/a", "", `attachment; filename="../../etc/passwd"`, "passwd"},
		{"/a", "", `attachment; filename=".."`, "download"},
		{"/a", "", `attachment; filename="dir/"`, "a"},
		{"/a", "", `attachment; filename*=UTF-8''%e8%b3%87`, "資"},
		{"/a", "", `attachment; filename*=UTF-8''a%0ab`, "download"},
		{"/a", "", `inline`, "a"},
		{"/a", "", `;;`, "a"},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if tt.disposition != "" {
				w.Header().Set("Content-Disposition", tt.disposition)
			}
		})
		d, err := newClient(t, t.TempDir(), nil).Download(t.Context(), &op.HTTP{URL: s.URL + tt.path, Filename: tt.wanted})
		if err != nil || d.Name != tt.want {
			t.Errorf("%+v: got %+v, %v", tt, d, err)
		}
	}
}

func TestRevalidation(t *testing.T) {
	version, heeds := "1", true
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tag := `W/"v` + version + `"`
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Disposition", "inline; filename=f"+version)
		w.Header().Set("Last-Modified", "Mon, 05 May 2025 05:05:05 GMT")
		if heeds && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "content ", version)
	})
	path := t.TempDir()
	h := &op.HTTP{URL: s.URL + "/x"}
	get := func(want, sent string) {
		t.Helper()
		d, err := newClient(t, path, nil).Download(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, d); got != "content "+want || d.Name != "f"+want || d.ModTime.Unix() != 1746421505 {
			t.Errorf("got %q, %+v, want version %s", got, d, want)
		}
		if got := s.last().Header.Get("If-None-Match"); got != sent {
			t.Errorf("the client sent If-None-Match %q, want %q", got, sent)
		}
	}
	get("1", "")
	get("1", `W/"v1"`)
	heeds = false
	get("1", `W/"v1"`)
	version, heeds = "2", true
	get("2", `W/"v1"`)
	get("2", `W/"v2"`)

	// With a checksum that is kept there is nothing to ask.
	before := s.count()
	h.Sum = sha256.Sum256([]byte("content 2"))
	get("2", `W/"v2"`)
	if s.count() != before {
		t.Error("the server was asked for content that its checksum names")
	}

	// Whatever happened to the state directory costs a download and nothing else.
	h.Sum = layer.Sum{}
	for _, f := range glob(t, path, "downloads") {
		if err := os.Truncate(f, 3); err != nil {
			t.Fatal(err)
		}
	}
	get("2", "")
	for _, f := range glob(t, path, "download-records") {
		if err := os.WriteFile(f, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get("2", "")
}

func glob(t *testing.T, path, kind string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, kind, "*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing in %s: %v", kind, err)
	}
	return found
}

func TestChecksumMismatch(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "content") })
	c := newClient(t, t.TempDir(), nil)
	for range 2 { // the second time it is there already
		_, err := c.Download(t.Context(), &op.HTTP{URL: s.URL + "/x", Sum: sha256.Sum256([]byte("other"))})
		var source *op.SourceError
		if !errors.As(err, &source) || source.Temporary() {
			t.Fatalf("error %v", err)
		}
		for _, sum := range []string{"content", "other"} {
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(sum))); !strings.Contains(err.Error(), want) {
				t.Errorf("error %v does not name %s", err, want)
			}
		}
	}
}

func TestFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		answer   func(w http.ResponseWriter, attempt int)
		attempts int
		passing  bool
		message  string // "" for success
	}{
		"not found":            {status(404, 404, 404), 1, false, "404 Not Found"},
		"unauthorized":         {status(401), 1, false, "HTTP_AUTH_TOKEN_"},
		"unasked not modified": {status(304), 1, false, "304"},
		"unavailable":          {status(503, 503, 503), 3, true, "503"},
		"unavailable once":     {status(503, 200), 2, false, ""},
		"broken off once":      {brokenUntil(2), 2, false, ""},
		"broken off":           {brokenUntil(9), 3, true, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				attempts++
				tt.answer(w, attempts)
			})
			d, err := newClient(t, t.TempDir(), nil).Download(t.Context(), &op.HTTP{URL: s.URL + "/x?token=hidden"})
			if s.count() != tt.attempts {
				t.Errorf("%d attempts, want %d", s.count(), tt.attempts)
			}
			if tt.message == "" {
				if err != nil || read(t, d) != "content" {
					t.Errorf("error %v", err)
				}
				return
			}
			var source *op.SourceError
			if !errors.As(err, &source) || source.Temporary() != tt.passing || !strings.Contains(err.Error(), tt.message) {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error shows the query: %v", err)
			}
		})
	}
}

// status answers with one code after the other.
func status(codes ...int) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, attempt int) {
		w.WriteHeader(codes[attempt-1])
		if codes[attempt-1] == http.StatusOK {
			_, _ = io.WriteString(w, "content")
		}
	}
}

// brokenUntil ends the content early before the given attempt.
func brokenUntil(whole int) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, attempt int) {
		w.Header().Set("Content-Length", "7")
		_, _ = io.WriteString(w, "content"[:min(7, 3+max(0, attempt-whole+1)*4)])
	}
}

func TestNobodyThere(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	s.Close()
	_, err := newClient(t, t.TempDir(), nil).Download(t.Context(), &op.HTTP{URL: s.URL + "/x"})
	var source *op.SourceError
	if !errors.As(err, &source) || !source.Temporary() || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
}

func TestCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		secrets secrets
		id      string
		want    string
	}{
		"none":       {secrets{"HTTP_AUTH_TOKEN_example.com": "x"}, "", ""},
		"token":      {secrets{"HTTP_AUTH_TOKEN_127.0.0.1": "t"}, "", "Bearer t"},
		"header":     {secrets{"HTTP_AUTH_HEADER_127.0.0.1": "Basic x"}, "", "Basic x"},
		"both":       {secrets{"HTTP_AUTH_HEADER_127.0.0.1": "h", "HTTP_AUTH_TOKEN_127.0.0.1": "t"}, "", "Bearer t"},
		"named":      {secrets{"mine": "h", "HTTP_AUTH_TOKEN_127.0.0.1": "t"}, "mine", "h"},
		"named gone": {secrets{"HTTP_AUTH_TOKEN_127.0.0.1": "t"}, "mine", "error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(http.ResponseWriter, *http.Request) {})
			_, err := newClient(t, t.TempDir(), tt.secrets).Download(t.Context(), &op.HTTP{URL: s.URL + "/x", AuthHeaderSecret: tt.id})
			if (err != nil) != (tt.want == "error") {
				t.Fatalf("error %v", err)
			}
			if err == nil && s.last().Header.Get("Authorization") != tt.want {
				t.Errorf("got %q, want %q", s.last().Header.Get("Authorization"), tt.want)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	var first *site
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, first.URL+"/end", http.StatusFound)
			return
		}
		fmt.Fprint(w, "content")
	})
	target := ""
	first = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			fmt.Fprint(w, "content")
			return
		}
		http.Redirect(w, r, target, http.StatusFound)
	})
	loopback := strings.Replace(first.URL, "127.0.0.1", "localhost", 1)
	for name, tt := range map[string]struct {
		from, to string
		last     *site
		want     string // header of the last request
	}{
		"same host":          {first.URL + "/x", first.URL + "/end", first, "Bearer t"},
		"another port":       {first.URL + "/x", other.URL + "/end", other, ""},
		"there and back":     {first.URL + "/x", other.URL + "/back", first, ""},
		"another name":       {first.URL + "/x", loopback + "/end", first, ""},
		"inward":             {loopback + "/x", first.URL + "/end", nil, "an address of this machine: refused"},
		"other protocol":     {first.URL + "/x", "ftp://127.0.0.1/x", nil, "unsupported protocol"},
		"file of the system": {first.URL + "/x", "file:///etc/passwd", nil, "unsupported protocol"},
		"loop":               {first.URL + "/x", first.URL + "/x", nil, "10 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			target = tt.to
			c := newClient(t, t.TempDir(), secrets{"HTTP_AUTH_TOKEN_127.0.0.1": "t", "HTTP_AUTH_TOKEN_localhost": "l"})
			d, err := c.Download(t.Context(), &op.HTTP{URL: tt.from})
			if tt.last == nil {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || read(t, d) != "content" {
				t.Fatalf("error %v", err)
			}
			if got := tt.last.last().Header.Get("Authorization"); got != tt.want {
				t.Errorf("the credentials %q went along, want %q", got, tt.want)
			}
			if want := filepath.Base(tt.from); d.Name != want {
				t.Errorf("name %q, want that of the first URL, %q", d.Name, want)
			}
		})
	}
}

func TestConcurrentDownloads(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(10 * time.Millisecond)
		fmt.Fprint(w, "content")
	})
	c := newClient(t, t.TempDir(), nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Download(t.Context(), &op.HTTP{URL: s.URL + "/x"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.count() != 1 {
		t.Errorf("%d requests for one file", s.count())
	}
}
