package build

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/testbase/forge"
	"github.com/slipway-build/slipway/pkg/registry"
)

func TestParseGit(t *testing.T) {
	const commit = "0123456789abcdef0123456789ABCDEF01234567"
	const plain = "https://h/a/b.git?submodules=false"
	for context, c := range map[string]struct {
		o                        GitOptions
		address, url, authorized string // authorized is USER:PASSWORD
		err                      string
	}{
		"git://h/a/b":                         {address: plain, url: "https://h/a/b"},
		"git://h/a/b/":                        {address: plain, url: "https://h/a/b"},
		"git://h:1/a/b.git":                   {address: "https://h:1/a/b.git?submodules=false", url: "https://h:1/a/b.git"},
		"git://h/a/b#main":                    {address: plain + "#main", url: "https://h/a/b"},
		"git://h/a/b#refs/heads/x/y":          {address: plain + "#refs/heads/x/y", url: "https://h/a/b"},
		"git://h/a/b#refs/pull/1/head":        {address: plain + "#refs/pull/1/head", url: "https://h/a/b"},
		"git://h/a/b#main:dir/x":              {address: plain + "#main:dir/x", url: "https://h/a/b"},
		"git://h/a/b#" + commit:               {address: plain + "#" + commit, url: "https://h/a/b"},
		"git://h/a/b#main#" + commit:          {address: plain + "#" + commit, url: "https://h/a/b"},
		"git://h/a/b##" + commit:              {address: plain + "#" + commit, url: "https://h/a/b"},
		"git://u@h/a/b":                       {address: plain, url: "https://h/a/b", authorized: "u:"},
		"git://u:p%40@h/a/b":                  {address: plain, url: "https://h/a/b", authorized: "u:p@"},
		"git://x:y@h/a/b":                     {o: GitOptions{Token: "t", Username: "u", Password: "p"}, address: plain, url: "https://h/a/b", authorized: "t:"},
		"git://x:z@h/a/b":                     {o: GitOptions{Username: "u", Password: "p"}, address: plain, url: "https://h/a/b", authorized: "u:p"},
		"git://h/http":                        {o: GitOptions{PlainHTTP: true}, address: "http://h/http.git?submodules=false", url: "http://h/http"},
		"git://h/modules":                     {o: GitOptions{RecurseSubmodules: true}, address: "https://h/modules.git", url: "https://h/modules"},
		"git://h/branch":                      {o: GitOptions{Branch: "b"}, address: "https://h/branch.git?submodules=false#b", url: "https://h/branch"},
		"git://h/branch#:dir":                 {o: GitOptions{Branch: "b"}, address: "https://h/branch.git?submodules=false#b:dir", url: "https://h/branch"},
		"git://h/branch#refs/heads/b":         {o: GitOptions{Branch: "b"}, address: "https://h/branch.git?submodules=false#refs/heads/b", url: "https://h/branch"},
		"git://h/branch#" + commit:            {o: GitOptions{Branch: "b"}, address: "https://h/branch.git?submodules=false#" + commit, url: "https://h/branch"},
		"git://secret@h/branch#v1":            {o: GitOptions{Branch: "b"}, err: "it names v1, and --git branch=b another one"},
		"git://secret@h/a/b#main#0123":        {err: "not a commit"},
		"git://secret@h/a#b#" + commit + "#c": {err: "more than a ref and a commit"},
		"git://secret@h/a?ref=b":              {err: "no query"},
		"git://secret@h":                      {err: "not of the form"},
		"git://secret@/a/b":                   {err: "not of the form"},
		"git://secret:secret%zz@h/a/b":        {err: "not of the form"},
		"git://secret@h:port/a/b":             {err: "not of the form"},
	} {
		g, err := parseGit(context, &c.o)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: error %v", context, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", context, err)
			continue
		}
		var authorized string
		if c.authorized != "" {
			r := &http.Request{Header: http.Header{"Authorization": {g.special.Authorization}}}
			user, password, _ := r.BasicAuth()
			authorized = user + ":" + password
		}
		if g.address != c.address || g.special.URL != c.url || authorized != c.authorized || (c.authorized == "") != (g.special.Authorization == "") {
			t.Errorf("%s: got %s, %s, %s", context, g.address, g.special.URL, authorized)
		}
	}
}

// Of contexts that have a password, no error and no address has it.
func TestParseGitKeepsPasswords(t *testing.T) {
	// No fuzz target: gVisor, which this package is linked with, cannot be compiled with the fuzzer's instrumentation.
	r := rand.New(rand.NewPCG(1, 2))
	random := func() string {
		const parts = "/#?:@%[]. ab01-_zZ\x00\xff"
		out := make([]byte, r.IntN(24))
		for i := range out {
			out[i] = parts[r.IntN(len(parts))]
		}
		return string(out)
	}
	inputs := [][2]string{{"u", "h/a/b#main"}, {"", "h:1/a#b#0123456789abcdef0123456789abcdef01234567"}, {"x@y", "/%zz?a=b#c:d"}}
	for range 50_000 {
		inputs = append(inputs, [2]string{random(), random()})
	}
	for _, in := range inputs {
		const secret = "kept-secret"
		user, rest := in[0], in[1]
		g, err := parseGit(gitScheme+user+":"+secret+"@"+rest, &GitOptions{})
		if strings.ContainsAny(user, "#/?") {
			continue // then the password is no password, but a part of the path or of a ref
		}
		if err != nil && strings.Contains(err.Error(), secret) || err == nil && strings.Contains(g.address+g.remote+g.special.URL, secret) {
			t.Errorf("of %q and %q, the password is in %+v, %v", user, rest, g, err)
		}
	}
}

// gitServer is a server with repositories that only those read who give a user and password. It returns its
// address and the commits of two versions.
func gitServer(t *testing.T, user, password string) (f *forge.Forge, host string, commits []string) {
	t.Helper()
	f = forge.New(t)
	const dockerfile = "FROM scratch\nCOPY . /\n"
	module := f.Repository(t, "team/module")
	module.Commit(map[string]string{"m": "module"})
	r := f.Repository(t, "team/app")
	commits = append(commits, r.Commit(map[string]string{"Dockerfile": dockerfile, ".dockerignore": "Docker*\n.git*", "f": "1", "sub/f": "sub", "sub/Dockerfile": dockerfile}))
	forge.Git(t, r.Dir, "tag", "v1")
	forge.Git(t, r.Dir, "-c", "protocol.file.allow=always", "submodule", "add", "-q", module.Bare, "module")
	forge.Git(t, r.Dir, "config", "-f", ".gitmodules", "submodule.module.url", "../module")
	commits = append(commits, r.Commit(map[string]string{"f": "2"}))
	forge.Git(t, r.Bare, "update-ref", "refs/pull/7/head", commits[0])
	forge.Git(t, r.Bare, "update-ref", "refs/merge-requests/7/head", commits[0])
	f.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if gotUser, gotPassword, _ := r.BasicAuth(); gotUser == user && gotPassword == password {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	return f, strings.TrimPrefix(f.URL, "http://"), commits
}

// Kaniko's contexts on a server that asks for credentials.
func TestGitContexts(t *testing.T) {
	_, host, commits := gitServer(t, "open-sesame", "")
	_, other, _ := gitServer(t, "me", "open-sesame")
	token := GitOptions{Token: "open-sesame", PlainHTTP: true}
	with := func(change func(o *GitOptions)) GitOptions {
		o := token
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		context string
		o       Options
		want    string // content of the file f
		err     string
	}{
		"default branch":         {"git://HOST/team/app", Options{Git: token}, "2", ""},
		"branch":                 {"git://HOST/team/app#main", Options{Git: token}, "2", ""},
		"tag":                    {"git://HOST/team/app#v1", Options{Git: token}, "1", ""},
		"branch in full":         {"git://HOST/team/app#refs/heads/main", Options{Git: token}, "2", ""},
		"pull request":           {"git://HOST/team/app#refs/pull/7/head", Options{Git: token}, "1", ""},
		"merge request":          {"git://HOST/team/app#refs/merge-requests/7/head", Options{Git: token}, "1", ""},
		"commit":                 {"git://HOST/team/app#" + commits[0], Options{Git: token}, "1", ""},
		"commit of a branch":     {"git://HOST/team/app#main#" + commits[0], Options{Git: token}, "1", ""},
		"sub path":               {"git://HOST/team/app", Options{Git: token, ContextSubPath: "sub"}, "sub", ""},
		"branch by flag":         {"git://HOST/team/app", Options{Git: with(func(o *GitOptions) { o.Branch = "v1" })}, "1", ""},
		"submodules":             {"git://HOST/team/app", Options{Git: with(func(o *GitOptions) { o.RecurseSubmodules = true })}, "2", ""},
		"token in the URL":       {"git://open-sesame@HOST/team/app", Options{Git: GitOptions{PlainHTTP: true}}, "2", ""},
		"password in the URL":    {"git://me:open-sesame@OTHER/team/app", Options{Git: GitOptions{PlainHTTP: true}}, "2", ""},
		"password":               {"git://OTHER/team/app", Options{Git: GitOptions{PlainHTTP: true, Username: "me", Password: "open-sesame"}}, "2", ""},
		"no such ref":            {"git://HOST/team/app#nope", Options{Git: token}, "", `does not contain ref "nope"`},
		"no credentials":         {"git://HOST/team/app", Options{Git: GitOptions{PlainHTTP: true}}, "", "GIT_TOKEN"},
		"wrong credentials":      {"git://open-sesame@OTHER/team/app", Options{Git: GitOptions{PlainHTTP: true}}, "", "GIT_TOKEN"},
		"nothing for other URLs": {"http://HOST/team/app.git", Options{Git: token}, "", "GIT_AUTH_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			dest := t.TempDir()
			var log bytes.Buffer
			c.o.Context = strings.NewReplacer("HOST", host, "OTHER", other).Replace(c.context)
			c.o.StateDir, c.o.Progress, c.o.ProgressTo, c.o.Outputs = t.TempDir(), "plain", &log, []string{"type=local,dest=" + dest}
			c.o.Registry.Retry.Base, c.o.Registry.Retry.Attempts = time.Millisecond, 2
			_, err := Run(t.Context(), c.o)
			if text := log.String() + fmt.Sprint(err); strings.Contains(text, "open-sesame") {
				t.Errorf("the credentials are in the log:\n%s", text)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(dest, "f")); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v", got, err)
			}
			_, err = os.Stat(filepath.Join(dest, "module/m"))
			if (err == nil) != c.o.Git.RecurseSubmodules {
				t.Errorf("the submodule: %v", err)
			}
		})
	}
}

// The certificate of a server that is not one of the system's.
func TestGitContextCertificate(t *testing.T) {
	f, _, _ := gitServer(t, "t", "")
	s := httptest.NewTLSServer(f.Config.Handler)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(s.URL, "https://")
	for name, c := range map[string]struct {
		o    GitOptions
		host registry.Host
		err  string
	}{
		"unknown":         {GitOptions{Token: "t"}, registry.Host{}, "certificate"},
		"given":           {GitOptions{Token: "t"}, registry.Host{CAFile: ca}, ""},
		"not to be asked": {GitOptions{Token: "t", SkipTLSVerify: true, RecurseSubmodules: true}, registry.Host{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Context: "git://" + host + "/team/app#main", Git: c.o}
			o.Registry.Hosts = map[string]registry.Host{host: c.host}
			got, err := built(t, o)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || got["f"] != "2" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
