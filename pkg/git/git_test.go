package git_test

import (
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/forge"
	"github.com/slipway-build/slipway/pkg/extract"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

func wantContent(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestRefs(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	first := r.Commit(map[string]string{"f": "1"})
	forge.Git(t, r.Dir, "tag", "light")
	forge.Git(t, r.Dir, "tag", "-a", "-m", "x", "annotated")
	forge.Git(t, r.Dir, "tag", "-a", "-m", "x", "nested", "annotated")
	second := r.Commit(map[string]string{"f": "2"})
	forge.Git(t, r.Dir, "branch", "light/not")
	forge.Git(t, r.Dir, "checkout", "-q", "-b", "side", "light")
	side := r.Commit(map[string]string{"f": "side"})
	forge.Git(t, r.Dir, "tag", "main", "light") // a branch's name, too
	forge.Git(t, r.Dir, "checkout", "-q", "--detach")
	lost := r.Commit(map[string]string{"f": "lost"})
	forge.Git(t, r.Dir, "push", "-q", "origin", "HEAD:refs/pull/1/head")
	tag := forge.Git(t, r.Dir, "rev-parse", "annotated")

	for _, tt := range []struct {
		ref, checksum string
		want          string // "" for an error with message
		message       string
	}{
		{"", "", "2", ""},
		{"HEAD", "", "2", ""},
		{"main", "", "2", ""},
		{"refs/heads/main", second[:8], "2", ""},
		{"heads/main", strings.ToUpper(second), "2", ""},
		{"refs/tags/main", "", "1", ""},
		{"light", first, "1", ""},
		{"annotated", "", "1", ""},
		{"annotated", tag, "1", ""},
		{"annotated", first[:12], "1", ""},
		{"refs/tags/annotated", "", "1", ""},
		{"nested", "", "1", ""},
		{"side", side, "side", ""},
		{first, first[:7], "1", ""},
		{strings.ToUpper(second), "", "2", ""},
		{first[:7], "", "", "does not contain ref"}, // as with BuildKit, which would have to fetch everything
		{tag, "", "1", ""},
		{"pull/1/head", "", "lost", ""},
		{lost, "", "lost", ""}, // only a tip outside of branches and tags

		{"main", first, "", "refs/heads/main has the hash " + second + ", expected checksum to match " + first},
		{"annotated", second, "", tag + " (of the commit " + first + "), expected checksum to match " + second},
		{first, second, "", "expected checksum to match"},
		{"nothing", "", "", `does not contain ref "nothing"`},
		{strings.Repeat("ab", 20), "", "", "no commit abab"},
		{strings.Repeat("ab", 32), "", "", "SHA-256"},
		{"main", "x", "", "expected hex commit hash"},
		{"--upload-pack=x", "", "", "is not a ref"},
		{"../../x", "", "", "no branch or tag"},
	} {
		c := newClient(t, t.TempDir(), nil, nil)
		l, err := c.Layer(t.Context(), &op.Git{URL: r.URL, Ref: tt.ref, Checksum: tt.checksum}, age, io.Discard)
		if tt.want == "" {
			var source *op.SourceError
			if !errors.As(err, &source) || source.Temporary() || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("%s %s: error %v, want %q", tt.ref, tt.checksum, err, tt.message)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", tt.ref, tt.checksum, err)
			continue
		}
		wantContent(t, content(t, l), map[string]string{"f": tt.want})
	}
}

func TestContent(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 200)
	if err := os.Symlink("../elsewhere", filepath.Join(r.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, "run"), []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Commit(map[string]string{"sub/a": "a", "sub/deep/b": "b", "empty": "", "naïve name": "c", long: "long"})
	c := newClient(t, t.TempDir(), nil, nil)

	l := mustLayer(t, c, &op.Git{URL: r.URL})
	got := content(t, l)
	for p, want := range map[string]string{
		"link": "-> ../elsewhere", "run": "#! (executable)", "sub": "dir", "sub/a": "a", "sub/deep/b": "b", "empty": "", "naïve name": "c", long: "long",
	} {
		if v, ok := got[p]; !ok || v != want {
			t.Errorf("%s: got %q, want %q", p, v, want)
		}
	}
	if _, ok := got[".git"]; ok {
		t.Error("there is a .git")
	}
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: r.URL, Subdir: "/sub/"})), map[string]string{"a": "a", "deep": "dir", "deep/b": "b"})
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: r.URL, Subdir: "x/../sub/deep"})), map[string]string{"b": "b"})
	for sub, message := range map[string]string{"nope": "no directory nope", "run": "run is not a directory", "link": "link is not a directory", "sub/nope": "no directory"} {
		if _, err := c.Layer(t.Context(), &op.Git{URL: r.URL, Subdir: sub}, age, nil); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v", sub, err)
		}
	}

	x, err := l.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := x.Lookup("sub/a"); err != nil || !e.ModTime.Equal(age) {
		t.Errorf("got %+v, %v", e, err)
	}
	if x, err = mustLayer(t, c, &op.Git{URL: r.URL, CommitTime: true}).Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := x.Lookup("sub"); err != nil || e.ModTime.Unix() != 1746421505 {
		t.Errorf("got %+v, %v", e, err)
	}
}

// A commit that somebody made to be checked out into other places.
func TestHostileNames(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	r.Commit(map[string]string{"f": "x"})
	blob := forge.Git(t, r.Dir, "rev-parse", "HEAD:f")
	for _, name := range []string{"..", ".GIT", "."} {
		mktree := exec.CommandContext(t.Context(), "git", "-C", r.Dir, "hash-object", "-t", "tree", "-w", "--stdin", "--literally")
		raw := make([]byte, 20)
		for i := range raw {
			raw[i] = unhex(blob[2*i])<<4 | unhex(blob[2*i+1])
		}
		mktree.Stdin = strings.NewReader("100644 " + name + "\x00" + string(raw))
		out, err := mktree.Output()
		if err != nil {
			t.Fatal(err)
		}
		commit := forge.Git(t, r.Dir, "commit-tree", "-m", "x", strings.TrimSpace(string(out)))
		forge.Git(t, r.Dir, "branch", "-f", "bad", commit)
		r.Push()
		_, err = newClient(t, t.TempDir(), nil, nil).Layer(t.Context(), &op.Git{URL: r.URL, Ref: "bad"}, age, nil)
		if err == nil || !strings.Contains(err.Error(), "is no name for a file") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func TestFetchesNoMoreThanNeeded(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	old := r.Commit(map[string]string{"f": "1"})
	r.Commit(map[string]string{"f": "2"})
	path := t.TempDir()
	mustLayer(t, newClient(t, path, nil, nil), &op.Git{URL: r.URL})
	stores, err := filepath.Glob(filepath.Join(path, "git", "*"))
	if err != nil || len(stores) != 1 {
		t.Fatalf("stores %v, %v", stores, err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "--git-dir="+stores[0], "-c", "safe.directory=*", "cat-file", "-e", old).CombinedOutput(); err == nil {
		t.Errorf("the history was fetched: %s", out)
	}

	// In the next build the ref is asked for and nothing fetched, in the same build nothing at all.
	before := f.Requests()
	c := newClient(t, path, nil, nil)
	mustLayer(t, c, &op.Git{URL: r.URL})
	mustLayer(t, c, &op.Git{URL: r.URL})
	if n := f.Requests() - before; n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	// What a ref is does not change during a build.
	r.Commit(map[string]string{"f": "3"})
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: r.URL})), map[string]string{"f": "2"})
}

func TestByCommit(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	first := r.Commit(map[string]string{"f": "1"})
	r.Commit(map[string]string{"f": "2"})
	forge.Git(t, r.Bare, "config", "uploadpack.allowReachableSHA1InWant", "true")
	c := newClient(t, t.TempDir(), nil, nil)
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: r.URL, Ref: "main", Checksum: first, ByCommit: true})), map[string]string{"f": "1"})
	if _, err := c.Commit(t.Context(), &op.Git{URL: r.URL, Checksum: first[:9], ByCommit: true}); err == nil {
		t.Error("part of a hash is accepted")
	}
}

func TestSubmodules(t *testing.T) {
	f := forge.New(t)
	inner, outer := f.Repository(t, "inner.git"), f.Repository(t, "group/outer.git")
	leaf := f.Repository(t, "leaf.git")
	leaf.Commit(map[string]string{"l": "leaf"})
	inner.Commit(map[string]string{"i": "inner", "d/j": "j"})
	forge.Git(t, inner.Dir, "-c", "protocol.file.allow=always", "submodule", "add", "-q", leaf.Bare, "leaf")
	forge.Git(t, inner.Dir, "config", "-f", ".gitmodules", "submodule.leaf.url", "../leaf.git")
	inner.Commit(nil)
	forge.Git(t, outer.Dir, "-c", "protocol.file.allow=always", "submodule", "add", "-q", inner.Bare, "mods/inner")
	forge.Git(t, outer.Dir, "config", "-f", ".gitmodules", "submodule.mods/inner.url", "../../inner.git")
	outer.Commit(map[string]string{"o": "outer"})
	modules := "[submodule \"mods/inner\"]\n\tpath = mods/inner\n\turl = ../../inner.git\n"
	c := newClient(t, t.TempDir(), nil, nil)

	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: outer.URL, SkipSubmodules: true})), map[string]string{
		"o": "outer", ".gitmodules": modules, "mods": "dir", "mods/inner": "dir",
	})
	want := map[string]string{
		"i": "inner", "d": "dir", "d/j": "j", "leaf": "dir", "leaf/l": "leaf",
		".gitmodules": "[submodule \"leaf\"]\n\tpath = leaf\n\turl = ../leaf.git\n",
	}
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: outer.URL, Subdir: "mods/inner"})), want)
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: outer.URL, Subdir: "mods/inner/d"})), map[string]string{"j": "j"})
	all := map[string]string{"o": "outer", ".gitmodules": modules, "mods": "dir", "mods/inner": "dir"}
	for p, v := range want {
		all["mods/inner/"+p] = v
	}
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: outer.URL})), all)

	for address, message := range map[string]string{
		inner.Bare:                "not read over \"file\"",
		"file://" + inner.Bare:    "not read over \"file\"",
		"ext::sh -c id":           "submodule mods/inner",
		"../../../../../../x.git": "leads out of",
	} {
		forge.Git(t, outer.Dir, "config", "-f", ".gitmodules", "submodule.mods/inner.url", address)
		commit := outer.Commit(nil)
		if _, err := c.Layer(t.Context(), &op.Git{URL: outer.URL, Ref: commit}, age, nil); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v", address, err)
		}
	}
	forge.Git(t, outer.Dir, "rm", "-q", "--cached", ".gitmodules")
	if err := os.Remove(filepath.Join(outer.Dir, ".gitmodules")); err != nil {
		t.Fatal(err)
	}
	commit := outer.Commit(nil)
	if _, err := c.Layer(t.Context(), &op.Git{URL: outer.URL, Ref: commit}, age, nil); err == nil || !strings.Contains(err.Error(), ".gitmodules does not say") {
		t.Errorf("error %v", err)
	}
}

func TestAuthentication(t *testing.T) {
	f := forge.New(t)
	r, other := f.Repository(t, "r.git"), f.Repository(t, "other.git")
	other.Commit(map[string]string{"o": "other"})
	r.Commit(map[string]string{"f": "1"})
	forge.Git(t, r.Dir, "-c", "protocol.file.allow=always", "submodule", "add", "-q", other.Bare, "other")
	forge.Git(t, r.Dir, "config", "-f", ".gitmodules", "submodule.other.url", "../other.git")
	withModule := r.Commit(nil)
	token := "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:t"))
	wanted := ""
	f.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.HasPrefix(req.URL.Path, "/r.git/") && req.Header.Get("Authorization") != wanted {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.HasPrefix(req.URL.Path, "/other.git/") && req.Header.Get("Authorization") != "" {
			t.Error("the credentials went along to another repository")
		}
		return false
	})
	host := strings.TrimPrefix(f.URL, "http://")
	for name, tt := range map[string]struct {
		secrets secrets
		url     string
		want    string
		fails   bool
	}{
		"none":              {nil, r.URL, "x", true},
		"token":             {secrets{"GIT_AUTH_TOKEN": "t"}, r.URL, token, false},
		"token of the host": {secrets{"GIT_AUTH_TOKEN": "u", "GIT_AUTH_TOKEN." + host: "t"}, r.URL, token, false},
		"header":            {secrets{"GIT_AUTH_HEADER": "Bearer h", "GIT_AUTH_TOKEN": "t"}, r.URL, "Bearer h", false},
		"token of another":  {secrets{"GIT_AUTH_TOKEN.example.com": "t"}, r.URL, token, true},
		"in the URL":        {nil, strings.Replace(r.URL, "http://", "http://u:p@", 1), "Basic dTpw", false},
	} {
		t.Run(name, func(t *testing.T) {
			wanted = tt.want
			g := &op.Git{URL: tt.url, Ref: withModule, AuthTokenSecret: "GIT_AUTH_TOKEN", AuthHeaderSecret: "GIT_AUTH_HEADER"}
			if name == "in the URL" {
				g.SkipSubmodules = true // whose URLs inherit it, as in git
			}
			l, err := newClient(t, t.TempDir(), tt.secrets, nil).Layer(t.Context(), g, age, nil)
			if tt.fails {
				if err == nil || !strings.Contains(err.Error(), "GIT_AUTH_TOKEN") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := content(t, l); got["f"] != "1" || !g.SkipSubmodules && got["other/o"] != "other" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestRedirectedCredentials(t *testing.T) {
	f, elsewhere := forge.New(t), forge.New(t)
	r := elsewhere.Repository(t, "r.git")
	r.Commit(map[string]string{"f": "1"})
	f.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		http.Redirect(w, req, elsewhere.URL+req.URL.RequestURI(), http.StatusMovedPermanently)
		return true
	})
	elsewhere.Intercept(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Header.Get("Authorization") != "" {
			t.Errorf("the credentials went along to %s", req.URL)
		}
		return false
	})
	c := newClient(t, t.TempDir(), secrets{"GIT_AUTH_TOKEN": "t"}, nil)
	wantContent(t, content(t, mustLayer(t, c, &op.Git{URL: f.URL + "/r.git", AuthTokenSecret: "GIT_AUTH_TOKEN"})), map[string]string{"f": "1"})
}

func TestFailures(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	r.Commit(map[string]string{"f": "1"})
	f.Repository(t, "empty.git")
	wide := f.Repository(t, "wide.git", "--object-format=sha256")
	wide.Commit(map[string]string{"f": "1"})
	fail := func(name, url, message string, passing bool) {
		t.Helper()
		_, err := newClient(t, t.TempDir(), nil, nil).Layer(t.Context(), &op.Git{URL: url}, age, nil)
		var source *op.SourceError
		if !errors.As(err, &source) || source.Temporary() != passing || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	fail("SHA-256", wide.URL, "SHA-256", false)
	fail("no repository", f.URL+"/nope.git", "not found", false)
	fail("empty", f.URL+"/empty.git", "empty", false)
	fail("file", "file://"+r.Bare, `not read over "file"`, false)
	fail("path", r.Bare, `not read over "file"`, false)
	fail("unknown host key", "ssh://git@127.0.0.1:1/r.git", "host key", false)
	f.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	fail("unavailable", r.URL, "503", true)
	f.Close()
	fail("nobody there", r.URL, "connection refused", true)
}

func TestObjects(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	r.Commit(map[string]string{"f": "1"})
	forge.Git(t, r.Dir, "tag", "-a", "-m", "x", "annotated")
	r.Push()
	c := newClient(t, t.TempDir(), nil, nil)
	got, err := c.Objects(t.Context(), &op.Git{URL: r.URL})
	if err != nil || strings.TrimSpace(string(got.Commit)) != forge.Git(t, r.Dir, "cat-file", "commit", "HEAD") || got.Tag != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = c.Objects(t.Context(), &op.Git{URL: r.URL, Ref: "annotated"})
	if err != nil || strings.TrimSpace(string(got.Tag)) != forge.Git(t, r.Dir, "cat-file", "tag", "annotated") {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The directory .git is one that git itself can work with, and the same each time.
func TestGitDir(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	r.Commit(map[string]string{"f": "1"})
	if err := os.Symlink("f", filepath.Join(r.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	head := r.Commit(map[string]string{"f": "2", "d/e": "e"})
	forge.Git(t, r.Dir, "tag", "-a", "-m", "x", "v1")
	r.Push()
	g := &op.Git{URL: strings.Replace(r.URL, "http://", "http://u:hidden@", 1), Ref: "v1", KeepGitDir: true}
	var previous map[string]string
	for range 2 {
		l := mustLayer(t, newClient(t, t.TempDir(), nil, nil), g)
		dir := t.TempDir()
		v, err := tree.New(l).View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := extract.Dir(t.Context(), v.Root(), dir); err != nil {
			t.Fatal(err)
		}
		if got := forge.Git(t, dir, "rev-parse", "HEAD"); got != head {
			t.Errorf("HEAD is %s, want %s", got, head)
		}
		if got := forge.Git(t, dir, "status", "--porcelain"); got != "" {
			t.Errorf("the files differ from the commit: %s", got)
		}
		if got := forge.Git(t, dir, "describe", "--dirty"); got != "v1" {
			t.Errorf("describe gives %s", got)
		}
		forge.Git(t, dir, "fsck", "--full", "--strict")
		if got := forge.Git(t, dir, "remote", "get-url", "origin"); strings.Contains(got, "hidden") || !strings.HasSuffix(got, "/r.git") {
			t.Errorf("the remote is %s", got)
		}
		got := content(t, l)
		if previous != nil && !maps.Equal(previous, got) {
			t.Error("two fetches give different directories")
		}
		previous = got
	}
	if _, kept := content(t, mustLayer(t, newClient(t, t.TempDir(), nil, nil), &op.Git{URL: r.URL, Subdir: "d", KeepGitDir: true}))[".git"]; kept {
		t.Error("part of a commit has a .git")
	}
}
