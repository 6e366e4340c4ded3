package build

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/policy"
)

// serveSpoilt serves files, the first answer for each path cut off after so many bytes, and gives the paths that it is asked for.
func serveSpoilt(t *testing.T, files map[string][]byte, cutOff map[string]int) (url string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var paths []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		first := !slices.Contains(paths, r.URL.Path)
		paths = append(paths, r.URL.Path)
		mu.Unlock()
		data, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if n, ok := cutOff[r.URL.Path]; ok && first {
			data = data[:n]
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(paths)
	}
}

// An archive from the web is fetched once and read while it comes, .dockerignore counts in it, and it is read again if it breaks off. What
// is no archive is a Dockerfile.
func TestWebContext(t *testing.T) {
	plain := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "Dockerfile\nsecret\n.dockerignore", "secret": "x", "f": "content"})
	zipped := gzipped(t, plain)
	url, asked := serveSpoilt(t, map[string][]byte{
		"/plain": plain, "/zipped": zipped, "/early": zipped, "/late": plain, "/endless": plain[:len(plain)-1024], "/short": plain[:len(plain)-1624],
		"/file": []byte("FROM scratch\nCOPY context /d\n"), "/empty": {},
	}, map[string]int{"/early": 100, "/late": len(plain) - 600})
	for path, c := range map[string]struct {
		requests int
		want     string // names of files, or the error's message
	}{
		"/plain":   {1, "f"},
		"/zipped":  {1, "f"},
		"/early":   {2, "f"},
		"/late":    {2, "f"},
		"/endless": {1, "f"}, // BuildKit takes it, too, and the server says that this is all
		"/short":   {1, "unexpected EOF"},
		"/file":    {2, "d"}, // looked into, and then fetched
		"/empty":   {2, "the Dockerfile cannot be empty"},
		"/nope":    {1, "404 Not Found"},
	} {
		t.Run(strings.TrimPrefix(path, "/"), func(t *testing.T) {
			o := Options{Context: url + path}
			o.Registry.Retry.Base = time.Millisecond
			got, err := built(t, o)
			names := []string{}
			for name := range got {
				names = append(names, name)
			}
			if err != nil {
				names = []string{err.Error()}
			}
			if said := strings.Join(names, " "); said != c.want && (err == nil || !strings.Contains(said, c.want)) {
				t.Errorf("got %s, want %s", said, c.want)
			}
			requests := 0
			for _, p := range asked() {
				if p == path {
					requests++
				}
			}
			if requests != c.requests {
				t.Errorf("%d requests, want %d", requests, c.requests)
			}
		})
	}
}

// A source policy knows an archive from the web by its URL, and by nothing else.
func TestWebContextPolicy(t *testing.T) {
	url, asked := serveSpoilt(t, map[string][]byte{
		"/a": archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "a"}),
		"/b": archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "b"}),
	}, nil)
	outside := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(outside, []byte("FROM scratch\nCOPY f /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rules      string
		dockerfile string
		want       string
		denied     string // the source
		err        string
	}{
		"allowed by its URL":         {`{"action": "DENY", "selector": {"identifier": "*"}}, {"action": "ALLOW", "selector": {"identifier": "URL/a"}}`, "", "a", "", ""},
		"denied":                     {`{"action": "DENY", "selector": {"identifier": "http://*"}}`, "", "", "URL/a", ""},
		"replaced":                   {`{"action": "CONVERT", "selector": {"identifier": "URL/a"}, "updates": {"identifier": "URL/b"}}`, "", "b", "", ""},
		"another digest is demanded": {`{"action": "CONVERT", "selector": {"identifier": "URL/a"}, "updates": {"attrs": {"http.checksum": "sha256:` + strings.Repeat("a", 64) + `"}}}`, "", "", "", "instead of sha256:aaaa"},
		"a Dockerfile from elsewhere": {
			`{"action": "DENY", "selector": {"identifier": "*"}}, {"action": "ALLOW", "selector": {"identifier": "URL/a"}}`, outside, "", "local://dockerfile", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(asked())
			file := filepath.Join(t.TempDir(), "policy.json")
			if err := os.WriteFile(file, []byte(`{"rules": [`+strings.ReplaceAll(c.rules, "URL", url)+`]}`), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := built(t, Options{Context: url + "/a", SourcePolicyFile: file, Dockerfile: c.dockerfile})
			var denied *policy.DeniedError
			switch {
			case c.denied != "":
				if !errors.As(err, &denied) || denied.Source != strings.ReplaceAll(c.denied, "URL", url) {
					t.Errorf("error %v", err)
				}
				if name == "denied" && len(asked()) != before {
					t.Error("the server was asked")
				}
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
			case err != nil || got["f"] != c.want:
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
