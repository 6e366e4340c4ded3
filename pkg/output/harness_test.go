package output_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

var (
	now   = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm   = v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
)

func openState(t *testing.T) *state.Dir {
	t.Helper()
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// file is a regular file, made at now.
func file(path, content string) layer.File {
	return layer.File{
		Entry:   layer.Entry{Path: path, Type: layer.Regular, Mode: 0o644, ModTime: now, Size: int64(len(content))},
		Content: layer.Bytes([]byte(content)),
	}
}

// entry is anything else.
func entry(e layer.Entry) layer.File {
	e.ModTime = now
	return layer.File{Entry: e}
}

func layerOf(t *testing.T, files ...layer.File) layer.Layer {
	t.Helper()
	l, err := layer.New(files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func build(t *testing.T, spec image.Spec) *image.Built {
	t.Helper()
	spec.Now = now
	b, err := image.Build(t.Context(), spec, layer.NewWriter(t.Context(), openState(t)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// simple is an image for each platform with these layers.
func simple(t *testing.T, layers []layer.Layer, platforms ...v1.Platform) *image.Built {
	t.Helper()
	var spec image.Spec
	for _, p := range platforms {
		spec.Platforms = append(spec.Platforms, image.Platform{Platform: p, Tree: tree.New(layers...)})
	}
	return build(t, spec)
}

// app is an image of two layers.
func app(t *testing.T) *image.Built {
	t.Helper()
	return simple(t, []layer.Layer{
		layerOf(t, entry(layer.Entry{Path: "bin", Type: layer.Directory, Mode: 0o755}), file("bin/app", "program")),
		layerOf(t, file("etc/conf", "setting")),
	}, amd64)
}

// write prepares and commits one output.
func write(t *testing.T, o output.Output, b *image.Built) (*output.Result, error) {
	t.Helper()
	rs, err := output.Write(t.Context(), output.Job{Output: o, Image: b})
	if err != nil {
		return nil, err
	}
	return rs[0], nil
}

// must unwraps what cannot fail here.
func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// list returns the paths below dir with the contents of files, links as "-> target".
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(dir, p)
		if err = errors.Join(err, rerr); err != nil || rel == "." {
			return err
		}
		switch {
		case d.IsDir():
			out[rel] = "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[rel] = "-> " + target
			return err
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			out[rel] = string(b)
			return err
		default:
			out[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// skopeo runs skopeo, and skips the test without it.
func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	out, err := exec.Command(bin, append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %v: %v: %s", args, err, out)
	}
	return string(out)
}

// server is a registry in this process whose answers a test can change.
type server struct {
	host  string
	inner http.Handler

	mu        sync.Mutex
	requests  []string        // "METHOD PATH?QUERY"
	blobs     map[string]bool // "REPOSITORY DIGEST"; the inner registry shares blobs among repositories
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.host = strings.TrimPrefix(h.URL, "http://")
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	repo, digest, isBlob := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
	switch {
	case !isBlob:
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		if !s.has(repo, digest) {
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
			return
		}
	case r.Method == http.MethodPut:
		s.add(repo, r.URL.Query().Get("digest"))
	case r.URL.Query().Has("mount"):
		if s.has(r.URL.Query().Get("from"), r.URL.Query().Get("mount")) {
			s.add(repo, r.URL.Query().Get("mount"))
			w.WriteHeader(http.StatusCreated)
			return
		}
		r.URL.RawQuery = ""
	}
	s.inner.ServeHTTP(w, r)
}

func (s *server) has(repo, digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[repo+" "+digest]
}

func (s *server) add(repo, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs == nil {
		s.blobs = map[string]bool{}
	}
	s.blobs[repo+" "+digest] = true
}

func (s *server) interceptWith(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// seen returns the requests that begin with method and have part in them, and forgets none.
func (s *server) seen(method, part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.requests {
		if strings.HasPrefix(r, method+" ") && strings.Contains(r, part) {
			out = append(out, r)
		}
	}
	return out
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func newClient(t *testing.T) *registry.Client {
	t.Helper()
	return clientWith(t, registry.Options{})
}

func clientWith(t *testing.T, o registry.Options) *registry.Client {
	t.Helper()
	if o.State == nil {
		o.State = openState(t)
	}
	o.Retry = registry.Retry{Attempts: 4, Base: time.Millisecond, Max: 10 * time.Millisecond}
	c, err := registry.New(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// denyAll answers every request with 403.
func denyAll(w http.ResponseWriter, _ *http.Request) bool {
	http.Error(w, `{"errors":[{"code":"DENIED","message":"requested access is denied"}]}`, http.StatusForbidden)
	return true
}
