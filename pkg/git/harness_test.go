package git_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/git"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

type secrets map[string]string

func (s secrets) Secret(_ context.Context, id string) ([]byte, error) {
	v, ok := s[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(v), nil
}

// command runs git in dir, at a fixed time and without anybody's configuration.
func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
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

// forge is a web server with repositories, served by git's own program.
type forge struct {
	*httptest.Server
	root string

	mu       sync.Mutex
	requests []*http.Request
	// intercept may answer a request itself; it says so by true.
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

func newForge(t *testing.T) *forge {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	f := &forge{root: t.TempDir()}
	backend := &cgi.Handler{
		Path: filepath.Join(command(t, f.root, "--exec-path"), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + f.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
		Stderr: io.Discard,
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests = append(f.requests, r.Clone(context.WithoutCancel(r.Context())))
		intercept := f.intercept
		f.mu.Unlock()
		if intercept == nil || !intercept(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *forge) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

// repo is a repository on a forge, with a working directory beside it.
type repo struct {
	t         *testing.T
	dir, bare string
	url       string
}

func (f *forge) repo(t *testing.T, name string, initArgs ...string) *repo {
	t.Helper()
	r := &repo{t: t, dir: t.TempDir(), bare: filepath.Join(f.root, name), url: f.URL + "/" + name}
	command(t, f.root, append([]string{"init", "-q", "--bare", "-b", "main"}, append(initArgs, name)...)...)
	command(t, r.dir, append([]string{"init", "-q", "-b", "main"}, append(initArgs, ".")...)...)
	command(t, r.dir, "remote", "add", "origin", r.bare)
	return r
}

// commit adds files and pushes everything; it gives the commit's hash.
func (r *repo) commit(files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		p := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	command(r.t, r.dir, "add", "-A")
	command(r.t, r.dir, "commit", "-q", "--allow-empty", "-m", "a commit")
	r.push()
	return command(r.t, r.dir, "rev-parse", "HEAD")
}

func (r *repo) push() {
	r.t.Helper()
	command(r.t, r.dir, "push", "-q", "--all", "--force", "origin")
	command(r.t, r.dir, "push", "-q", "--tags", "--force", "origin")
}

func newClient(t *testing.T, path string, s secrets, agents map[string]string) *git.Client {
	t.Helper()
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := registry.New(t.Context(), registry.Options{
		State: dir, Retry: registry.Retry{Attempts: 3, Base: time.Millisecond, Max: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return git.New(git.Options{Registry: r, Secrets: s, Agents: agents, State: dir})
}

var age = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// content lists what a layer has: "path mode content", links as "path -> target".
func content(t *testing.T, l layer.Layer) map[string]string {
	t.Helper()
	v, err := tree.New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for p, n := range v.Walk("") {
		e := n.Entry()
		switch e.Type {
		case layer.Directory:
			if p != "" {
				all[p] = "dir"
			}
		case layer.Symlink:
			all[p] = "-> " + e.Link
		default:
			data, err := v.ReadFile(t.Context(), p, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			all[p] = string(data)
			if e.Mode != 0o644 {
				all[p] += " (executable)"
			}
			if e.UID != 0 || e.GID != 0 {
				t.Errorf("%s belongs to %d:%d", p, e.UID, e.GID)
			}
		}
	}
	return all
}

func mustLayer(t *testing.T, c *git.Client, g *op.Git) layer.Layer {
	t.Helper()
	l, err := c.Layer(t.Context(), g, age, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
