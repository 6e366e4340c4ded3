// Package forge serves git repositories to tests, by git's own programs, over HTTP and ssh.
package forge

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Forge is a web server with repositories.
type Forge struct {
	*httptest.Server
	// Root is the directory of the bare repositories.
	Root string

	mu        sync.Mutex
	requests  int
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// New starts a forge without repositories. The test is skipped where git is not installed.
func New(t *testing.T) *Forge {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	f := &Forge{Root: t.TempDir()}
	backend := &cgi.Handler{
		Path: filepath.Join(Git(t, f.Root, "--exec-path"), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + f.Root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
		Stderr: io.Discard,
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests++
		intercept := f.intercept
		f.mu.Unlock()
		if intercept == nil || !intercept(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// Requests is the number of requests so far.
func (f *Forge) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// Intercept lets a function answer requests itself; it says by true that it did.
func (f *Forge) Intercept(intercept func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.intercept = intercept
}

// Git runs git in a directory, at a fixed time and without anybody's configuration, and gives what it prints.
func Git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE=2025-05-05T05:05:05Z",
		"GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@example.com", "GIT_COMMITTER_DATE=2025-05-05T05:05:05Z",
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return strings.TrimSpace(out.String())
}

// Repository is a repository on a forge, with a working directory beside it.
type Repository struct {
	// Dir is the working directory, Bare what the forge has, URL where it has it.
	Dir, Bare, URL string

	t *testing.T
}

// Repository makes a repository of that name.
func (f *Forge) Repository(t *testing.T, name string, initArgs ...string) *Repository {
	t.Helper()
	r := &Repository{t: t, Dir: t.TempDir(), Bare: filepath.Join(f.Root, name), URL: f.URL + "/" + name}
	Git(t, f.Root, append([]string{"init", "-q", "--bare", "-b", "main"}, append(initArgs, name)...)...)
	Git(t, r.Dir, append([]string{"init", "-q", "-b", "main"}, append(initArgs, ".")...)...)
	Git(t, r.Dir, "remote", "add", "origin", r.Bare)
	return r
}

// Commit adds files and pushes everything; it gives the commit's hash.
func (r *Repository) Commit(files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		p := filepath.Join(r.Dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	Git(r.t, r.Dir, "add", "-A")
	Git(r.t, r.Dir, "commit", "-q", "--allow-empty", "-m", "a commit")
	r.Push()
	return Git(r.t, r.Dir, "rev-parse", "HEAD")
}

// Push pushes all branches and tags.
func (r *Repository) Push() {
	r.t.Helper()
	Git(r.t, r.Dir, "push", "-q", "--all", "--force", "origin")
	Git(r.t, r.Dir, "push", "-q", "--tags", "--force", "origin")
}
