package fanin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/pkg/fanin"
	"github.com/slipway-build/slipway/pkg/registry"
)

// front stands before a registry, notes what is asked of it, and may answer itself.
type front struct {
	host  string
	inner http.Handler

	mu        sync.Mutex
	requests  []string // "METHOD PATH?QUERY STATUS"
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// before puts a front before the registry at host.
func before(t *testing.T, host string) *front {
	t.Helper()
	f := &front{inner: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", host
		r.Out.Host = r.In.Host // registries make URLs of it
	}}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.host = strings.TrimPrefix(server.URL, "http://")
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	intercept := f.intercept
	f.mu.Unlock()
	s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	if intercept == nil || !intercept(s, r) {
		f.inner.ServeHTTP(s, r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, fmt.Sprintf("%s %s %d", r.Method, r.URL.RequestURI(), s.status))
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (f *front) interceptWith(i func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intercept = i
}

// seen gives the requests since the last forget that begin with method and have part in them.
func (f *front) seen(method, part string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, r := range f.requests {
		if strings.HasPrefix(r, method+" ") && strings.Contains(r, part) {
			out = append(out, r)
		}
	}
	return out
}

func (f *front) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = nil
}

// memory is the registry of this process's own, behind a front.
func memory(t *testing.T) *front {
	t.Helper()
	r, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return before(t, r.Host)
}

// put stores an image or index and gives its reference.
func (f *front) put(t *testing.T, ref string, m remote.Taggable) string {
	t.Helper()
	full := f.host + "/" + ref
	if err := remote.Push(parse(t, full), m); err != nil {
		t.Fatal(err)
	}
	f.forget()
	return full
}

func parse(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
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

func digestOf(t *testing.T, m interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	return must[v1.Hash](t)(m.Digest()).String()
}

// imageFor is an image of two random layers whose config names a platform "OS/ARCH[/VARIANT][:VERSION]",
// in OCI's media types or in Docker's.
func imageFor(t *testing.T, platform string, docker bool) v1.Image {
	t.Helper()
	img := must[v1.Image](t)(random.Image(2000, 2))
	if !docker {
		img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	p := must[*v1.Platform](t)(v1.ParsePlatform(platform))
	config := must[*v1.ConfigFile](t)(img.ConfigFile()).DeepCopy()
	config.OS, config.Architecture, config.Variant, config.OSVersion = p.OS, p.Architecture, p.Variant, p.OSVersion
	return must[v1.Image](t)(mutate.ConfigFile(img, config))
}

// join runs a joining and gives its log too.
func join(t *testing.T, o fanin.Options) (*fanin.Result, string, error) {
	t.Helper()
	var log strings.Builder
	o.Progress = &log
	o.Registry.Retry = registry.Retry{Attempts: 4, Base: time.Millisecond, Max: 10 * time.Millisecond}
	j, err := fanin.New(t.Context(), o)
	if err != nil {
		t.Fatalf("the options are refused: %v", err)
	}
	res, err := j.Run(t.Context())
	return res, log.String(), err
}

// mustJoin expects success and gives what the registry has under the first tag, too.
func mustJoin(t *testing.T, o fanin.Options) (*v1.IndexManifest, *fanin.Result, string) {
	t.Helper()
	res, log, err := join(t, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	for _, tag := range o.Tags {
		x := must[v1.ImageIndex](t)(remote.Index(parse(t, tag)))
		if d := digestOf(t, x); d != res.Digest {
			t.Errorf("%s is %s, want %s", tag, d, res.Digest)
		}
	}
	m := must[*v1.IndexManifest](t)(must[v1.ImageIndex](t)(remote.Index(parse(t, o.Tags[0]))).IndexManifest())
	return m, res, log
}

// platformsOf lists the platforms of an index, in its order.
func platformsOf(m *v1.IndexManifest) string {
	var all []string
	for _, d := range m.Manifests {
		all = append(all, d.Platform.String())
	}
	return strings.Join(all, " ")
}
