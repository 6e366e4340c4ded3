package location_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/cachetest"
	"github.com/slipway-build/slipway/pkg/cache/location"
	"github.com/slipway-build/slipway/pkg/registry"
)

func client(t *testing.T) *registry.Client {
	t.Helper()
	c, err := registry.New(t.Context(), registry.Options{Retry: registry.Retry{Base: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, spec string) cache.Store {
	t.Helper()
	s, err := location.Open(t.Context(), spec, location.Options{Registry: client(t)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inNewRepository opens another repository of the host each time.
func inNewRepository(host string) func(t *testing.T) cache.Store {
	var n atomic.Int32
	return func(t *testing.T) cache.Store {
		t.Helper()
		return open(t, fmt.Sprintf("%s/team/cache-%d", host, n.Add(1)))
	}
}

func TestDistribution(t *testing.T) {
	cachetest.Run(t, inNewRepository(distribution.ServeDeletable(t).Host))
}

// TestMemoryRegistry runs the contract over another implementation, which has no notion of deleting a tag.
func TestMemoryRegistry(t *testing.T) {
	r, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	newStore := inNewRepository(r.Host)
	cachetest.Run(t, func(t *testing.T) cache.Store { return struct{ cache.Store }{newStore(t)} })
}

// TestRecordInDistribution has a registry accept what records are: artifacts without a config.
func TestRecordInDistribution(t *testing.T) {
	s := open(t, distribution.ServeDeletable(t).Host+"/cache")
	blob := cachetest.PutBlob(t, s, types.OCILayer, "a layer")
	index := cachetest.PutBlob(t, s, "application/vnd.slipway.layer.index.v1", "an index")
	cachetest.PutBlob(t, s, "application/vnd.oci.empty.v1+json", "{}")
	rec := cache.Record{Outputs: []cache.Output{{Layer: blob, DiffID: blob.Digest, Index: index}}}
	raw, err := rec.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutManifest(t.Context(), "record-1", raw); err != nil {
		t.Fatal(err)
	}
	got, err := s.Manifest(t.Context(), "record-1")
	if err != nil || string(got) != string(raw) {
		t.Errorf("the record came back as %s, %v", got, err)
	}
}

// front stands before a registry and may answer in its place.
func front(t *testing.T, host string, answer func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// TestNoDeletion prunes a repository whose registry forbids that, as hosted ones do.
func TestNoDeletion(t *testing.T) {
	for name, host := range map[string]string{
		"docker-registry without deletion": distribution.Serve(t).Host,
		"405 without a reason": front(t, distribution.ServeDeletable(t).Host, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodDelete {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return r.Method == http.MethodDelete
		}),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, host+"/cache").(cache.Prunable)
			d := cachetest.PutBlob(t, s, types.OCILayer, "a blob")
			raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/json","digest":%q,"size":%d},"layers":[]}`,
				types.OCIManifestSchema1, d.Digest, d.Size)
			if err := s.PutManifest(t.Context(), "record-1", raw); err != nil {
				t.Fatal(err)
			}
			_, err := s.Remove(t.Context(), []string{"record-1"}, 0)
			var known *registry.Error
			if !errors.As(err, &known) || known.Kind != registry.Unsupported || !strings.Contains(err.Error(), "does not let its clients delete") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestPages lists tags of a registry that gives two at a time.
func TestPages(t *testing.T) {
	var elsewhere atomic.Bool
	host := front(t, "127.0.0.1:1", func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return r.URL.Path == "/v2/"
		}
		switch last := r.URL.Query().Get("last"); {
		case elsewhere.Load():
			w.Header().Set("Link", `<https://elsewhere.example/v2/cache/tags/list>; rel="next"`)
			fmt.Fprint(w, `{"tags":["a"]}`)
		case last == "":
			w.Header().Set("Link", `</v2/cache/tags/list?n=2&last=b>; rel="next"`)
			fmt.Fprint(w, `{"tags":["a","b"]}`)
		case last == "b":
			fmt.Fprint(w, `{"tags":["c"]}`)
		}
		return true
	})
	s := open(t, host+"/cache").(cache.Prunable)
	all, err := s.List(t.Context())
	if err != nil || len(all) != 3 || all[2].Name != "c" {
		t.Errorf("the store lists %v, %v", all, err)
	}
	elsewhere.Store(true)
	if all, err := s.List(t.Context()); err == nil || !strings.Contains(err.Error(), "another host, elsewhere.example") {
		t.Errorf("the store lists %v, %v", all, err)
	}
}
