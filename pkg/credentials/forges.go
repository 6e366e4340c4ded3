package credentials

import (
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// gitlab is what GitLab's CI gives to jobs, for its registry and its dependency proxy.
type gitlab struct{ env func(string) string }

// Candidates implements Source.
func (g gitlab) Candidates(repo name.Repository) []Candidate {
	host := hostOf(repo)
	var all []Candidate
	for _, l := range []struct{ server, user, password string }{
		{"CI_REGISTRY", g.env("CI_REGISTRY_USER"), "CI_REGISTRY_PASSWORD"},
		{"CI_REGISTRY", "gitlab-ci-token", "CI_JOB_TOKEN"},
		{"CI_DEPENDENCY_PROXY_SERVER", g.env("CI_DEPENDENCY_PROXY_USER"), "CI_DEPENDENCY_PROXY_PASSWORD"},
		{"CI_DEPENDENCY_PROXY_SERVER", "gitlab-ci-token", "CI_JOB_TOKEN"},
	} {
		server, password := g.env(l.server), g.env(l.password)
		if server != "" && scopeOf(server) == host && l.user != "" && password != "" {
			all = append(all, Fixed("gitlab ($"+l.password+")", authn.AuthConfig{Username: l.user, Password: password}))
		}
	}
	return all
}

// github is the token of a GitHub Actions job, for GitHub's registry.
type github struct{ env func(string) string }

const githubRegistry = "ghcr.io"

// Candidates implements Source.
func (g github) Candidates(repo name.Repository) []Candidate {
	token := g.env("GITHUB_TOKEN")
	if token == "" || hostOf(repo) != githubRegistry {
		return nil
	}
	user := g.env("GITHUB_ACTOR")
	if user == "" {
		user = "x-access-token" // the registry looks at the token alone
	}
	return []Candidate{Fixed("github ($GITHUB_TOKEN)", authn.AuthConfig{Username: user, Password: token})}
}
