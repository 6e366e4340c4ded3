package git_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/forge"
	"github.com/slipway-build/slipway/pkg/op"
)

// A web server that knows nothing of git gives a repository as files.
func TestDumbServer(t *testing.T) {
	f := forge.New(t)
	web := httptest.NewServer(http.FileServer(http.Dir(f.Root)))
	t.Cleanup(web.Close)
	for name, pack := range map[string]bool{"objects with files of their own": false, "packs": true} {
		t.Run(name, func(t *testing.T) {
			r := f.Repository(t, strings.ReplaceAll(name, " ", "-")+".git")
			first := r.Commit(map[string]string{"f": "1", "dir/g": "g"})
			forge.Git(t, r.Dir, "tag", "-a", "-m", "x", "annotated")
			r.Commit(map[string]string{"f": "2"})
			if pack {
				forge.Git(t, r.Bare, "gc", "-q")
				r.Commit(map[string]string{"late": "l"})
				forge.Git(t, r.Bare, "repack", "-q", "-d")
			}
			forge.Git(t, r.Bare, "update-server-info")
			url := strings.Replace(r.URL, f.URL, web.URL, 1)

			for ref, want := range map[string]string{"": "2", "main": "2", "annotated": "1", first: "1"} {
				got := content(t, mustLayer(t, newClient(t, t.TempDir(), nil, nil), &op.Git{URL: url, Ref: ref}))
				if got["f"] != want || got["dir/g"] != "g" {
					t.Errorf("%q: got %v, want f to be %s", ref, got, want)
				}
			}
			_, err := newClient(t, t.TempDir(), nil, nil).Layer(t.Context(), &op.Git{URL: url, Ref: strings.Repeat("ab", 20)}, age, nil)
			if err == nil || !strings.Contains(err.Error(), "no commit abab") {
				t.Errorf("unknown commit: error %v", err)
			}
		})
	}
}

// What a web server gives may be anything.
func TestDumbServerGivesNonsense(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	hash := r.Commit(map[string]string{"f": "1"})
	other := r.Commit(map[string]string{"f": "2"})
	forge.Git(t, r.Bare, "update-server-info")
	files := http.FileServer(http.Dir(f.Root))
	for name, tt := range map[string]struct {
		path, body string
		message    string
	}{
		"refs":           {"info/refs", "<html>", "is not a ref with its hash"},
		"SHA-256":        {"info/refs", strings.Repeat("ab", 32) + "\trefs/heads/main\n", "SHA-256"},
		"HEAD":           {"HEAD", "<html>", "neither a ref nor a hash"},
		"another object": {"objects/" + other[:2] + "/" + other[2:], "/objects/" + hash[:2] + "/" + hash[2:], "the server gave " + hash},
		"no object":      {"objects/" + other[:2] + "/" + other[2:], "<html>", "zlib"},
	} {
		t.Run(name, func(t *testing.T) {
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				switch {
				case req.URL.Path != "/r.git/"+tt.path:
					files.ServeHTTP(w, req)
				case strings.HasPrefix(tt.body, "/"):
					req.URL.Path = "/r.git" + tt.body
					files.ServeHTTP(w, req)
				default:
					if _, err := w.Write([]byte(tt.body)); err != nil {
						t.Error(err)
					}
				}
			}))
			defer web.Close()
			_, err := newClient(t, t.TempDir(), nil, nil).Layer(t.Context(), &op.Git{URL: web.URL + "/r.git"}, age, nil)
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}
