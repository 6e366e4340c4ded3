package fanin_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	layers "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/fanin"
	"github.com/slipway-build/slipway/pkg/registry"
)

// static is a layer that holds no filesystem.
func static(t *testing.T, content string, mt types.MediaType) v1.Layer {
	t.Helper()
	return layers.NewLayer([]byte(content), mt)
}

// skopeo runs skopeo, and skips the test without it.
func skopeo(t *testing.T, args ...string) {
	t.Helper()
	bin, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	if out, err := exec.Command(bin, append([]string{"--insecure-policy"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("skopeo %v: %v: %s", args, err, out)
	}
}

// Images of other repositories are mounted where the registry is the same, and sent where it is another;
// what is there is left alone.
func TestCopying(t *testing.T) {
	to, other := before(t, distribution.Serve(t).Host), memory(t)
	there, mounted, sent := imageFor(t, "linux/amd64", false), imageFor(t, "linux/arm64", false), imageFor(t, "linux/s390x", true)
	refs := []string{
		to.put(t, "team/app:amd64", there),
		to.put(t, "legs/app:arm64", mounted),
		other.put(t, "legs/app:s390x", sent),
	}
	tags := []string{to.host + "/team/app:1", to.host + "/public/app:1", to.host + "/team/app:2"}
	_, _, log := mustJoin(t, fanin.Options{Images: refs, Tags: tags})

	if n := len(to.seen("PATCH", "")); n != 3 {
		t.Errorf("%d uploads, want those of two layers and a config: %q", n, to.seen("PATCH", ""))
	}
	if n := len(other.seen("GET", "/blobs/")); n != 4 {
		t.Errorf("%d blobs were fetched, want the three that are sent, and the config to know its platform: %q", n, other.seen("GET", "/blobs/"))
	}
	var mounts []string
	for _, m := range to.seen("POST", "mount=") {
		if strings.HasSuffix(m, " 201") {
			mounts = append(mounts, m)
		}
	}
	if n := len(mounts); n != 3+9 {
		t.Errorf("%d mounts, want one image's in one repository and all in the other: %q", n, mounts)
	}
	for platform, want := range map[string]int{"linux/amd64": 1, "linux/arm64": 2, "linux/s390x": 2} { // repositories that lack it
		if n := strings.Count(log, "copying "+platform+" "); n != want {
			t.Errorf("%s was copied %d times, want %d:\n%s", platform, n, want, log)
		}
	}
	if n := strings.Count(log, "sending blob "); n != 3 {
		t.Errorf("the log names %d blobs that were sent:\n%s", n, log)
	}
	for _, tag := range tags {
		if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, tag)))); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
		skopeo(t, "copy", "--all", "--quiet", "--src-tls-verify=false", "docker://"+tag, "oci:"+filepath.Join(t.TempDir(), "layout")+":x")
	}

	// Once more: only tags are written.
	to.forget()
	mustJoin(t, fanin.Options{Images: refs, Tags: []string{to.host + "/team/app:3"}})
	if sent := append(to.seen("POST", ""), to.seen("PATCH", "")...); len(sent) != 0 || len(to.seen("PUT", "")) != 1 {
		t.Errorf("sent %q and put %q", sent, to.seen("PUT", ""))
	}
}

// A registry that does not mount gets the bytes.
func TestRefusedMount(t *testing.T) {
	to := before(t, distribution.Serve(t).Host)
	ref := to.put(t, "legs/app:1", imageFor(t, "linux/amd64", false))
	to.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !r.URL.Query().Has("mount") {
			return false
		}
		http.Error(w, `{"errors":[{"code":"DENIED","message":"no"}]}`, http.StatusForbidden)
		return true
	})
	mustJoin(t, fanin.Options{Images: []string{ref}, Tags: []string{to.host + "/app:1"}})
	if n := len(to.seen("PATCH", "")); n != 3 {
		t.Errorf("%d uploads", n)
	}
	if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, to.host+"/app:1")))); err != nil {
		t.Error(err)
	}
}

// Each kind of request fails twice, at either registry, before it succeeds.
func TestRetries(t *testing.T) {
	from, to := memory(t), before(t, distribution.Serve(t).Host)
	refs := []string{from.put(t, "a:1", imageFor(t, "linux/amd64", false)), from.put(t, "b:1", imageFor(t, "linux/arm64", false))}
	failing := func() func(w http.ResponseWriter, r *http.Request) bool {
		counts := map[string]*atomic.Int32{http.MethodGet: {}, http.MethodHead: {}, http.MethodPost: {}, http.MethodPatch: {}, http.MethodPut: {}}
		return func(w http.ResponseWriter, r *http.Request) bool {
			if counts[r.Method].Add(1) > 2 {
				return false
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	}
	from.interceptWith(failing())
	to.interceptWith(failing())
	mustJoin(t, fanin.Options{Images: refs, Tags: []string{to.host + "/app:1"}})
	for method, f := range map[string]*front{http.MethodGet: from, http.MethodHead: to, http.MethodPost: to, http.MethodPatch: to, http.MethodPut: to} {
		if n := len(f.seen(method, " 503")); n != 2 {
			t.Errorf("%d requests %s failed, want 2", n, method)
		}
	}
	if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, to.host+"/app:1")))); err != nil {
		t.Error(err)
	}
}

// A blob that breaks off on its way is fetched on from where it broke.
func TestBrokenDownload(t *testing.T) {
	from, to := memory(t), memory(t)
	img := imageFor(t, "linux/amd64", false)
	ref := from.put(t, "a:1", img)
	blob := digestOf(t, must[[]v1.Layer](t)(img.Layers())[0])
	var asked atomic.Int32
	from.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, blob) || asked.Add(1) > 1 {
			return false
		}
		whole := httptest.NewRecorder()
		from.inner.ServeHTTP(whole, r)
		w.Header().Set("Content-Length", whole.Header().Get("Content-Length"))
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		panic(http.ErrAbortHandler)
	})
	_, _, log := mustJoin(t, fanin.Options{Images: []string{ref}, Tags: []string{to.host + "/app:1"}})
	if n := asked.Load(); n != 2 {
		t.Errorf("the blob was asked for %d times", n)
	}
	if n := strings.Count(log, "sending blob "+blob); n != 1 {
		t.Errorf("it was sent %d times:\n%s", n, log)
	}
	if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, to.host+"/app:1")))); err != nil {
		t.Error(err)
	}
}

// Content that is not what its digest says reaches no tag.
func TestDamagedContent(t *testing.T) {
	for name, c := range map[string]struct{ path, of string }{
		"config": {"/blobs/", "config"}, "layer": {"/blobs/", "layer"}, "manifest": {"/manifests/", "manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := memory(t), memory(t)
			img := imageFor(t, "linux/amd64", false)
			from.put(t, "a:1", img)
			m := must[*v1.Manifest](t)(img.Manifest())
			target := map[string]string{"config": m.Config.Digest.String(), "layer": m.Layers[0].Digest.String(), "manifest": digestOf(t, img)}[c.of]
			from.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, c.path+target) {
					return false
				}
				size := m.Layers[0].Size
				if c.of == "config" {
					size = m.Config.Size
				}
				_, _ = w.Write(bytes.Repeat([]byte("{"), int(size)))
				return true
			})
			_, _, err := join(t, fanin.Options{Images: []string{from.host + "/a@" + digestOf(t, img)}, Tags: []string{to.host + "/app:1"}})
			var e *registry.Error
			if !errors.As(err, &e) || e.Kind != registry.DigestMismatch {
				t.Errorf("got %v", err)
			}
			if puts := to.seen("PUT", "/manifests/"); len(puts) != 0 {
				t.Errorf("and yet %q", puts)
			}
		})
	}
}

// Neither a registry that refuses nor one that is down gets a tag, and the error says which it is.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		kind   registry.Kind
	}{"refused": {http.StatusForbidden, registry.Unauthorized}, "down": {http.StatusBadGateway, registry.Transient}} {
		t.Run(name, func(t *testing.T) {
			from, to := memory(t), memory(t)
			ref := from.put(t, "a:1", imageFor(t, "linux/amd64", false))
			to.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				w.WriteHeader(c.status)
				return true
			})
			_, _, err := join(t, fanin.Options{Images: []string{ref}, Tags: []string{to.host + "/app:1"}})
			var e *registry.Error
			if !errors.As(err, &e) || e.Kind != c.kind {
				t.Errorf("got %v", err)
			}
			if puts := to.seen("PUT", ""); len(puts) != 0 {
				t.Errorf("and yet %q", puts)
			}
		})
	}
}
