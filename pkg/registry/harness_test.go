package registry_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
)

// server is a registry in this process whose answers a test can change.
type server struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	requests []string // "METHOD PATH"
	// intercept may answer a request itself; it says so by true.
	intercept func(w http.ResponseWriter, r *http.Request) bool
	inner     http.Handler
}

func newServer(t *testing.T, start func(http.Handler) *httptest.Server) *server {
	t.Helper()
	s := &server{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	s.Server = start(s)
	t.Cleanup(s.Close)
	s.host = strings.SplitN(s.URL, "://", 2)[1]
	return s
}

// serve starts a plain HTTP registry on loopback.
func serve(t *testing.T) *server {
	t.Helper()
	return newServer(t, httptest.NewServer)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	intercept := s.intercept
	s.mu.Unlock()
	if intercept == nil || !intercept(w, r) {
		s.inner.ServeHTTP(w, r)
	}
}

func (s *server) interceptWith(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// count returns how many requests there were that begin with method and have part in their path.
func (s *server) count(method, part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, method+" ") && strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

var quick = registry.Retry{Attempts: 4, Base: time.Millisecond, Max: 2 * time.Second}

func newClient(t *testing.T, o registry.Options) *registry.Client {
	t.Helper()
	if o.State == nil {
		o.State = openState(t)
	}
	if o.Retry == (registry.Retry{}) {
		o.Retry = quick
	}
	c, err := registry.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

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

var amd64 = op.Platform{OS: "linux", Architecture: "amd64"}

// imageWith is an image whose layers hold one file each, with the given content.
func imageWith(t *testing.T, p op.Platform, contents ...string) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, c := range contents {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			err := tw.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(c))})
			_, werr := io.WriteString(tw, c)
			return io.NopCloser(&b), errors.Join(err, werr, tw.Close())
		}, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// put stores an image or index in the server.
func (s *server) put(t *testing.T, ref string, m remote.Taggable) string {
	t.Helper()
	full := s.host + "/" + ref
	r, err := name.ParseReference(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(r, m); err != nil {
		t.Fatal(err)
	}
	s.forget()
	return full
}

// kindOf returns the kind of err, which must be a registry.Error.
func kindOf(t *testing.T, err error) registry.Kind {
	t.Helper()
	var e *registry.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want a *registry.Error", err, err)
	}
	if strings.Contains(e.Error(), "\n") {
		t.Errorf("the message has several lines: %q", e.Error())
	}
	return e.Kind
}

// read returns the content of /file in the topmost layer of an image.
func read(ctx context.Context, t *testing.T, c *registry.Client, img *op.Image) (string, error) {
	t.Helper()
	layers, err := c.Layers(ctx, img)
	if err != nil {
		return "", err
	}
	r, err := layers[len(layers)-1].Open(ctx, "file")
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}
