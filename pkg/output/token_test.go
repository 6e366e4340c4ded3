package output_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// tokens makes the server ask for bearer tokens, as Docker Hub, Harbor and GitLab do. A token is the
// list of scopes that it is good for; refused ones make the token server answer 403.
func (s *server) tokens(refused ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			scopes := r.URL.Query()["scope"]
			for _, scope := range scopes {
				if slices.Contains(refused, scope) {
					return denyAll(w, r)
				}
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": strings.Join(scopes, "_")})
			return true
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		if ok && strings.Contains(token, "repository:"+repo+":") {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+s.host+`/token",service="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

// To mount a base layer the token must be good for reading the base, too. Where the account may not
// have that, the layers are sent.
func TestMountingWithTokens(t *testing.T) {
	for name, test := range map[string]struct {
		refused []string
		layers  int64
		mounts  int
	}{
		"allowed": {nil, 2, 2},
		// Of several layers, the library would ask for the token with the first only.
		"refused": {[]string{"repository:base:pull"}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			base := must[v1.Image](t)(random.Image(1000, test.layers))
			if err := remote.Write(parse(t, s.host+"/base:1"), base); err != nil {
				t.Fatal(err)
			}
			s.interceptWith(s.tokens())
			platform := op.Platform{OS: "linux", Architecture: "amd64"}
			c := newClient(t)
			pinned, _, _, err := c.ResolveImage(t.Context(), s.host+"/base:1", platform, "", "")
			if err != nil {
				t.Fatal(err)
			}
			layers := must[[]layer.Layer](t)(c.Layers(t.Context(), &op.Image{Ref: pinned, Platform: platform}))
			for _, l := range layers { // what is sent must be here
				if _, err := l.Index(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s.interceptWith(s.tokens(test.refused...))
			b := build(t, image.Spec{Platforms: []image.Platform{{Platform: amd64, Tree: tree.New(layers...)}}})
			_, err = push(t, c, b, s.host+"/app:1")
			if err != nil {
				t.Fatal(err)
			}
			if mounts := s.seen("POST", "mount="); len(mounts) != test.mounts {
				t.Errorf("%d mounts, want %d: %q", len(mounts), test.mounts, mounts)
			}
		})
	}
}
