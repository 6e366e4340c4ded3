package e2e

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// guarded is a web server with a tar of some files at /context, for those who have the token "t". It
// remembers what was asked for.
func guarded(t *testing.T, files map[string]string) (url string, asked func() []string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		seen []string
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.URL.Path)
		mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(b.Bytes())
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// lint and plan get at a context that is elsewhere with the same credentials as a build.
func TestInspectRemoteContext(t *testing.T) {
	url, _ := guarded(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	dir := write(t, map[string]string{"secrets/HTTP_AUTH_TOKEN_127.0.0.1": "t", "token": "t"})
	for _, credentials := range [][]string{
		{"--secrets-dir", "secrets"},
		{"--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,src=token"},
		{"--secrets=[\"id=HTTP_AUTH_TOKEN_127.0.0.1,src=token\"]"},
	} {
		for _, command := range []string{"lint", "plan"} {
			args := append([]string{command}, credentials...)
			if o := mustSlipway(t, dir, append(args, url+"/context")...); command == "plan" && !strings.Contains(o.stdout, "COPY Dockerfile /") {
				t.Errorf("%q shows\n%s", args, o.stdout)
			}
		}
	}
	// An agent that is not there is found out, so the flag is heard.
	if o := slipway(t, dir, "plan", "--ssh", "default=/not/there", url+"/context"); o.code != 2 || !strings.Contains(o.stderr, "/not/there") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if o := slipway(t, dir, "plan", url+"/context"); o.code != 1 || !strings.Contains(o.stderr, "401") {
		t.Errorf("without credentials: exit code %d\n%s", o.code, o.stderr)
	}
}

// A source that the policy denies ends the build at its line before anything is fetched.
func TestSourcePolicy(t *testing.T) {
	host, base := registryWithBase(t)
	url, asked := guarded(t, nil)
	const denyWeb = `{"rules":[{"action":"DENY","selector":{"identifier":"http://*"}}]}`
	dir := write(t, map[string]string{
		"deny.json":          denyWeb,
		"pin.json":           `{"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/anything:1"},"updates":{"identifier":"docker-image://` + base + `"}}]}`,
		"context/Dockerfile": "FROM " + base + "\nADD " + url + "/f /\n",
		"web/Dockerfile":     "FROM scratch\n",
		"pinned/Dockerfile":  "FROM anything:1\n",
	})
	build := func(policy string, args ...string) outcome {
		return slipway(t, dir, append([]string{"build", "--no-push", "--insecure-registry", host, "--results-dir", "results", "--source-policy-file", policy}, args...)...)
	}
	o := build("deny.json", "context")
	if o.code != 1 || !strings.Contains(o.stderr, "Dockerfile:2: source \""+url+"/f\" denied by policy deny.json") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if got := read(t, filepath.Join(dir, "results", "ERROR_REASON")); got != "PolicyDenied" {
		t.Errorf("reason %q", got)
	}
	for _, command := range []string{"plan", "lint"} {
		if o := slipway(t, dir, command, "--source-policy-file", "deny.json", url+"/context"); o.code != 1 || !strings.Contains(o.stderr, "denied by policy") {
			t.Errorf("%s of a denied context: exit code %d\n%s", command, o.code, o.stderr)
		}
	}
	if got := asked(); len(got) > 0 {
		t.Errorf("the server was asked for %q", got)
	}
	if o := build("pin.json", "pinned"); o.code != 0 || !strings.Contains(o.stderr, "FROM "+base) {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if o := build("missing.json", "pinned"); o.code != 2 || !strings.Contains(o.stderr, "missing.json") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}
