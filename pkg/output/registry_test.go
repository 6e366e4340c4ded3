package output_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/tree"
)

func push(t *testing.T, c *registry.Client, b *image.Built, refs ...string) (*output.Result, error) {
	t.Helper()
	o, err := output.NewRegistry(c, refs, false)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, o, b)
}

func TestPush(t *testing.T) {
	s := serve(t)
	b := app(t)
	refs := []string{s.host + "/app:1", s.host + "/app:2", s.host + "/other"}
	res := must[*output.Result](t)(push(t, newClient(t), b, refs...))
	for i, ref := range refs {
		if res.Pushed[i].Ref != ref || res.Pushed[i].Digest != b.Digest() {
			t.Errorf("result %d is %+v", i, res.Pushed[i])
		}
		img := must[v1.Image](t)(remote.Image(parse(t, ref)))
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if out := skopeo(t, "inspect", "--tls-verify=false", "docker://"+refs[0]); !strings.Contains(out, b.Digest().String()) {
		t.Errorf("skopeo sees %s", out)
	}
	// Three blobs (two layers and the config) are uploaded once; the second repository
	// mounts them.
	if uploads := s.seen("PATCH", "/blobs/uploads/"); len(uploads) != 3 {
		t.Errorf("%d uploads: %q", len(uploads), uploads)
	}
}

func TestTagsComeLast(t *testing.T) {
	s := serve(t)
	b := simple(t, []layer.Layer{layerOf(t, file("x", "y"))}, amd64, arm)
	must[*output.Result](t)(push(t, newClient(t), b, s.host+"/app:1", s.host+"/app:2"))
	puts := s.seen("PUT", "/manifests/")
	var order []string
	for _, p := range puts {
		order = append(order, p[strings.LastIndexByte(p, '/')+1:])
	}
	if len(order) != 5 || order[2] != b.Digest().String() || order[3] != "1" || order[4] != "2" {
		t.Errorf("manifests were put in the order %v", order)
	}
	x := must[v1.ImageIndex](t)(remote.Index(parse(t, s.host+"/app:2")))
	if err := validate.Index(x); err != nil {
		t.Error(err)
	}
}

func TestFailedPushWritesNoTag(t *testing.T) {
	for name, part := range map[string]string{"blob": "/blobs/uploads/", "manifest": "/manifests/sha256:"} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, part) {
					http.Error(w, `{"errors":[{"code":"DENIED","message":"no"}]}`, http.StatusForbidden)
					return true
				}
				return false
			})
			_, err := push(t, newClient(t), app(t), s.host+"/app:1")
			var e *registry.Error
			if !errors.As(err, &e) || e.Kind != registry.Unauthorized {
				t.Errorf("got %v", err)
			}
			if puts := s.seen("PUT", "/manifests/1"); len(puts) != 0 {
				t.Error("the tag was written")
			}
		})
	}
}

func TestPushAgainSendsNothing(t *testing.T) {
	s := serve(t)
	b := app(t)
	must[*output.Result](t)(push(t, newClient(t), b, s.host+"/app:1"))
	s.forget()
	must[*output.Result](t)(push(t, newClient(t), b, s.host+"/app:2"))
	if sent := append(s.seen("POST", ""), s.seen("PATCH", "")...); len(sent) != 0 {
		t.Errorf("sent %q", sent)
	}
}

// A base image in the same registry: metadata-only builds neither fetch nor send its layers.
func TestMetadataOnlyBuildTransfersNoLayer(t *testing.T) {
	s := serve(t)
	base := must[v1.Image](t)(random.Image(10_000, 5))
	if err := remote.Write(parse(t, s.host+"/base:1"), base); err != nil {
		t.Fatal(err)
	}
	s.forget()

	c := newClient(t)
	platform := op.Platform{OS: "linux", Architecture: "amd64"}
	pinned, _, config, err := c.ResolveImage(t.Context(), s.host+"/base:1", platform, "", "")
	if err != nil {
		t.Fatal(err)
	}
	layers := must[[]layer.Layer](t)(c.Layers(t.Context(), &op.Image{Ref: pinned, Platform: platform}))
	changed := []byte(`{"os":"linux","architecture":"amd64","config":{"Labels":{"new":"1"}}}`)
	b := build(t, image.Spec{Platforms: []image.Platform{{Platform: amd64, Config: changed, Base: config, Tree: tree.New(layers...)}}})
	must[*output.Result](t)(push(t, c, b, s.host+"/derived/app:1"))

	if fetched := s.seen("GET", "/blobs/"); len(fetched) != 1 {
		t.Errorf("fetched %q, want only the config", fetched)
	}
	if sent := s.seen("PATCH", ""); len(sent) != 1 {
		t.Errorf("sent %q, want only the config", sent)
	}
	if mounts := s.seen("POST", "mount="); len(mounts) != 5 || !strings.Contains(mounts[0], "from=base") {
		t.Errorf("mounted %q", mounts)
	}
	if err := validate.Image(must[v1.Image](t)(remote.Image(parse(t, s.host+"/derived/app:1")))); err != nil {
		t.Error(err)
	}
}

// A registry that refuses a mount gets the bytes.
func TestRefusedMountFallsBackToUpload(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"accepted": func(w http.ResponseWriter, r *http.Request) bool {
			r.URL.RawQuery = "" // it starts an upload as if nothing had been said of a mount
			return false
		},
		"denied": denyAll,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			base := must[v1.Image](t)(random.Image(1000, 2))
			if err := remote.Write(parse(t, s.host+"/base:1"), base); err != nil {
				t.Fatal(err)
			}
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				return r.Method == http.MethodPost && r.URL.Query().Has("mount") && refuse(w, r)
			})
			c := newClient(t)
			img, err := c.Resolve(t.Context(), s.host+"/base:1", op.Platform{OS: "linux", Architecture: "amd64"})
			if err != nil {
				t.Fatal(err)
			}
			layers := must[[]layer.Layer](t)(c.Layers(t.Context(), &op.Image{Ref: img.Ref, Platform: op.Platform{OS: "linux", Architecture: "amd64"}}))
			b := build(t, image.Spec{Platforms: []image.Platform{{Platform: amd64, Tree: tree.New(layers...)}}})
			must[*output.Result](t)(push(t, c, b, s.host+"/app:1"))
			if err := validate.Image(must[v1.Image](t)(remote.Image(parse(t, s.host+"/app:1")))); err != nil {
				t.Error(err)
			}
		})
	}
}

// An upload that breaks off starts again; other blobs are not sent twice.
func TestBrokenUploadIsStartedAgain(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"server error": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"connection":   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			left := 2
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPatch {
					return false
				}
				s.mu.Lock()
				left--
				failing := left >= 0
				s.mu.Unlock()
				if failing {
					fail(w)
				}
				return failing
			})
			must[*output.Result](t)(push(t, newClient(t), app(t), s.host+"/app:1"))
			if err := validate.Image(must[v1.Image](t)(remote.Image(parse(t, s.host+"/app:1")))); err != nil {
				t.Error(err)
			}
			if sent := s.seen("PATCH", ""); len(sent) != 5 {
				t.Errorf("%d uploads, want the 3 blobs and 2 repetitions", len(sent))
			}
		})
	}
}

func TestServerThatStaysDown(t *testing.T) {
	s := serve(t)
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	_, err := push(t, newClient(t), app(t), s.host+"/app:1")
	var e *registry.Error
	if !errors.As(err, &e) || e.Kind != registry.Transient || !e.Temporary() {
		t.Errorf("got %v", err)
	}
	if n := len(s.seen("PATCH", "")); n > 3*4 {
		t.Errorf("%d uploads for 3 blobs and 4 attempts", n)
	}
}

// The registry claims to have stored something else.
func TestRegistryThatChangesTheManifest(t *testing.T) {
	wrong := "sha256:" + strings.Repeat("0", 64)
	for name, lie := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"digest of the manifest": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/sha256:") {
				return false
			}
			w.Header().Set("Docker-Content-Digest", wrong)
			w.WriteHeader(http.StatusCreated)
			return true
		},
		"digest of the tag": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/1") {
				return false
			}
			w.Header().Set("Docker-Content-Digest", wrong)
			w.WriteHeader(http.StatusCreated)
			return true
		},
		"size": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead || r.Header.Get("Accept") == "" || !strings.Contains(r.URL.Path, "/manifests/sha256:") || r.Header.Get("X-First") != "" {
				return false
			}
			w.Header().Set("Content-Length", "7")
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Docker-Content-Digest", r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.interceptWith(lie)
			_, err := push(t, newClient(t), app(t), s.host+"/app:1")
			var e *registry.Error
			if !errors.As(err, &e) || e.Kind != registry.DigestMismatch {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPushWithCredentials(t *testing.T) {
	s := serve(t)
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "ann" && p == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	for password, ok := range map[string]bool{"right": true, "wrong": false} {
		keys := login{Username: "ann", Password: password}
		_, err := push(t, clientWith(t, registry.Options{Credentials: keys}), app(t), s.host+"/app:1")
		var e *registry.Error
		switch {
		case ok && err != nil:
			t.Error(err)
		case !ok && (!errors.As(err, &e) || e.Kind != registry.Unauthorized || strings.Contains(err.Error(), "wrong")):
			t.Errorf("got %v", err)
		}
	}
}

type login authn.AuthConfig

func (l login) Candidates(name.Repository) []credentials.Candidate {
	return []credentials.Candidate{credentials.Fixed("the login", authn.AuthConfig(l))}
}

func TestPushByDigest(t *testing.T) {
	s := serve(t)
	b := app(t)
	o := must[*output.Registry](t)(output.NewRegistry(newClient(t), []string{s.host + "/app"}, true))
	must[*output.Result](t)(write(t, o, b))
	for _, p := range s.seen("PUT", "/manifests/") {
		if !strings.HasSuffix(p, b.Digest().String()) {
			t.Errorf("put %s", p)
		}
	}
}

func TestRefusedDestinations(t *testing.T) {
	for _, refs := range [][]string{nil, {"UPPER"}, {"a@sha256:" + strings.Repeat("0", 64)}, {""}} {
		if _, err := output.NewRegistry(newClient(t), refs, false); err == nil {
			t.Errorf("%q is accepted", refs)
		}
	}
}

func TestForeignLayers(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep=%t", keep), func(t *testing.T) {
			s := serve(t)
			l := layer.FromBlob(must[v1.Layer](t)(random.Layer(100, types.DockerForeignLayer)), openState(t))
			b := build(t, image.Spec{
				Platforms: []image.Platform{{Platform: amd64, Tree: tree.New(l)}},
				Options:   image.Options{KeepForeign: keep},
			})
			must[*output.Result](t)(push(t, newClient(t), b, s.host+"/app:1"))
			want := 2 // the layer and the config
			if keep {
				want = 1
			}
			if sent := s.seen("PATCH", ""); len(sent) != want {
				t.Errorf("%d uploads, want %d", len(sent), want)
			}
			dir := filepath.Join(t.TempDir(), "layout")
			o := must[*output.Layout](t)(output.NewLayout(dir, nil))
			must[*output.Result](t)(write(t, o, b))
			_, err := os.Stat(filepath.Join(dir, "blobs", "sha256", b.Images()[0].List()[0].Digest.Hex))
			if keep != errors.Is(err, os.ErrNotExist) {
				t.Errorf("the layer in the layout: %v", err)
			}
		})
	}
}

// Credentials that may push need not be able to pull.
func TestRegistryThatCannotBeAsked(t *testing.T) {
	s := serve(t)
	pushed := false
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		byDigest := strings.Contains(r.URL.Path, "/manifests/sha256:")
		s.mu.Lock()
		defer s.mu.Unlock()
		pushed = pushed || (byDigest && r.Method == http.MethodPut)
		if byDigest && r.Method == http.MethodHead && pushed {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	var warnings []string
	c := clientWith(t, registry.Options{Warn: func(m string) { warnings = append(warnings, m) }})
	if _, err := push(t, c, app(t), s.host+"/app:1"); err != nil {
		t.Error(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "push succeeded") {
		t.Errorf("warnings are %q", warnings)
	}
}

// The tags are what may still fail, so nothing else may be visible before them.
func TestFilesWaitForTags(t *testing.T) {
	s := serve(t)
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1") && denyAll(w, r)
	})
	dir := t.TempDir()
	oci := must[*output.Layout](t)(output.NewLayout(filepath.Join(dir, "layout"), nil))
	tags := must[*output.Registry](t)(output.NewRegistry(newClient(t), []string{s.host + "/app:1"}, false))
	b := app(t)
	if _, err := output.Write(t.Context(), output.Job{Output: oci, Image: b}, output.Job{Output: tags, Image: b}); err == nil {
		t.Error("it succeeded")
	}
	if left := list(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
