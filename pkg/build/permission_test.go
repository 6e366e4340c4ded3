package build

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A build that may not push ends before its work is done, and says why; not if it is told not to ask, or pushes nothing.
func TestPushPermissionIsAskedFor(t *testing.T) {
	for name, test := range map[string]struct {
		skip, noPush bool
		want         string // part of the error, "" for none
	}{
		"asked for":       {want: "asking for permission to push to"},
		"not asked for":   {skip: true, want: "pushing"},
		"nothing to push": {noPush: true},
	} {
		t.Run(name, func(t *testing.T) {
			denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/v2/":
				case r.Method == http.MethodHead:
					w.WriteHeader(http.StatusNotFound)
				default:
					w.WriteHeader(http.StatusForbidden)
					_, _ = fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"you may not"}]}`)
				}
			}))
			defer denying.Close()
			// What the Dockerfile adds does not come as long as the build can be stopped.
			slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if test.want == "asking for permission to push to" {
					<-r.Context().Done()
				}
			}))
			defer slow.Close()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nADD "+slow.URL+"/file /\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Run(t.Context(), Options{
				Context: dir, Tags: []string{strings.TrimPrefix(denying.URL, "http://") + "/app:1"}, NoPush: test.noPush, SkipPushCheck: test.skip,
				StateDir: t.TempDir(), Progress: "quiet", ProgressTo: t.Output(),
			})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "you may not")) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
