package credentials_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/pkg/credentials"
)

// login is the entry of a user in a configuration.
func login(user string) string {
	return fmt.Sprintf(`{"auth":%q}`, base64.StdEncoding.EncodeToString([]byte(user+":hidden-"+user)))
}

// auths is a configuration with a user for each key: "r.example.com=ann r.example.com/team=tom".
func auths(pairs string) string { return `{"auths":` + bare(pairs) + `}` }

func bare(pairs string) string {
	var all []string
	for _, p := range strings.Fields(pairs) {
		key, user, _ := strings.Cut(p, "=")
		all = append(all, fmt.Sprintf("%q:%s", key, login(user)))
	}
	return "{" + strings.Join(all, ",") + "}"
}

// files writes files below a new directory, and returns that.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range content {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// environment is one with nothing but the given variables.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// open is credentials.Open in an environment that has nothing of the machine's.
func open(t *testing.T, o credentials.Options) credentials.Source {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = environment(nil)
	}
	if o.Dirs == nil {
		o.Dirs = []string{}
	}
	s, err := credentials.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func candidates(t *testing.T, s credentials.Source, repo string) []credentials.Candidate {
	t.Helper()
	r, err := name.NewRepository(repo)
	if err != nil {
		t.Fatal(err)
	}
	return s.Candidates(r)
}

// users lists the users of all candidates for a repository, or why there is none.
func users(t *testing.T, s credentials.Source, repo string) string {
	t.Helper()
	var all []string
	for _, c := range candidates(t, s, repo) {
		l, err := authn.Authorization(t.Context(), c.Auth)
		switch {
		case err != nil:
			all = append(all, "!"+err.Error())
		case l.IdentityToken != "":
			all = append(all, "token:"+l.IdentityToken)
		default:
			all = append(all, l.Username)
		}
		if strings.Contains(c.Name, "hidden") || err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("a secret is shown: %s, %v", c.Name, err)
		}
	}
	return strings.Join(all, " ")
}

// names lists the names of all candidates for a repository.
func names(t *testing.T, s credentials.Source, repo string) string {
	t.Helper()
	var all []string
	for _, c := range candidates(t, s, repo) {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}
