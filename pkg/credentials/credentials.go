// Package credentials finds what a user has to log in at registries with.
//
// A [Source] gives for a repository all that it has, in order, as [Candidate]s: who talks to the registry takes
// the first one, and the next one when the registry refuses it. No source hides another.
//
// The contract of a source and of its candidates:
//
//   - A candidate for a repository is meant for that repository's registry: what a user wrote down for it, or what
//     a helper has that knows the registry's host as its own service's. Hosts are compared whole, or by a
//     suffix that begins with a dot; a host that only looks like another gets nothing.
//   - Listing candidates contacts nobody and runs nothing. A candidate is asked for its login when it is
//     used, and again whenever a request is made, and keeps what it got until shortly before that expires.
//   - A candidate that cannot give a login, because its helper is missing or nobody is logged in, says so with
//     an [UnavailableError]; that is no reason to fail as long as another one works.
//   - Names and errors never hold a secret.
package credentials

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Candidate is one login that may be good for a repository.
type Candidate struct {
	// Name says where it comes from, for messages: "$DOCKER_CONFIG/config.json (r.example.com/team)".
	Name string
	// Auth gives the login.
	Auth authn.Authenticator
}

// Source gives the candidates for a repository, those that shall be tried first first. It is safe for
// concurrent use.
type Source interface {
	Candidates(repo name.Repository) []Candidate
}

// Sources are several sources, asked in their order. What two of them know alike is one candidate.
type Sources []Source

// Candidates implements Source.
func (s Sources) Candidates(repo name.Repository) []Candidate {
	var all []Candidate
	known := map[authn.AuthConfig]bool{}
	for _, source := range s {
		for _, c := range source.Candidates(repo) {
			if f, ok := c.Auth.(*fixed); ok {
				if known[f.login] {
					continue
				}
				known[f.login] = true
			}
			all = append(all, c)
		}
	}
	return all
}

// Anonymous is the candidate without a login.
func Anonymous() Candidate { return Candidate{Name: "no credentials", Auth: authn.Anonymous} }

// Fixed is a candidate whose login is known and stays.
func Fixed(name string, login authn.AuthConfig) Candidate {
	return Candidate{Name: name, Auth: &fixed{login}}
}

type fixed struct{ login authn.AuthConfig }

// Authorization implements authn.Authenticator.
func (f *fixed) Authorization() (*authn.AuthConfig, error) {
	login := f.login
	return &login, nil
}

// UnavailableError says that a candidate has no login to give.
type UnavailableError struct {
	Err error
	// Absent says that there simply is none, which is nothing that a user must be told of as long as another
	// candidate works.
	Absent bool
}

// Error implements error.
func (e *UnavailableError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// absent is an error for a login that nobody has set up.
func absent(err error) error { return &UnavailableError{Err: err, Absent: true} }

// broken is a candidate that a user has set up and that gives nothing but an error.
func broken(name string, err error) Candidate {
	return Candidate{Name: name, Auth: &renewed{get: func(context.Context) (login, error) { return login{}, err }}}
}

// unavailable makes err an UnavailableError, unless the one who asked has gone.
func unavailable(ctx context.Context, err error) error {
	var known *UnavailableError
	if err == nil || ctx.Err() != nil || errors.As(err, &known) {
		return err
	}
	return &UnavailableError{Err: err}
}
