package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/registry"
)

// accounts are what a registry knows of its users. Each one's password is "hidden-" and the name.
type accounts struct {
	// may says what a user may do, "" being everybody.
	may func(user string, r *http.Request) bool
	// token says that the registry wants bearer tokens.
	token bool
	// generation is part of all tokens; those of an earlier one have expired.
	generation, given atomic.Int32
}

// guard answers the requests that are not allowed.
func (a *accounts) guard(s *server) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			a.giveToken(w, r)
			return true
		}
		user, known := a.user(r)
		switch {
		case known && (r.URL.Path == "/v2/" && user != "" || r.URL.Path != "/v2/" && a.may(user, r)):
			return false
		case known && user != "":
			refuse(w, http.StatusForbidden, "DENIED")
		default:
			challenge := `Basic realm="test"`
			if a.token {
				challenge = fmt.Sprintf(`Bearer realm="%s/token",service="test"`, s.URL)
			}
			w.Header().Set("WWW-Authenticate", challenge)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		}
		return true
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"not allowed"}]}`, code)
}

// user is who makes a request, if it is known; without credentials, it is "".
func (a *accounts) user(r *http.Request) (string, bool) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && a.token {
		user, n, _ := strings.Cut(token, "/")
		return user, n == fmt.Sprint(a.generation.Load())
	}
	if user, password, ok := r.BasicAuth(); ok {
		return user, password == "hidden-"+user && !a.token
	}
	return "", !a.token
}

func (a *accounts) giveToken(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != "" && password != "hidden-"+user {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	a.given.Add(1)
	_, _ = fmt.Fprintf(w, `{"token":"%s/%d"}`, user, a.generation.Load())
}

// logins has the same candidates for every repository.
type logins []credentials.Candidate

// Candidates implements credentials.Source.
func (l logins) Candidates(name.Repository) []credentials.Candidate { return l }

// as are the logins of users; one with "?" at its end has the wrong password, and one with "!" none.
func as(users string) logins {
	var all logins
	for _, u := range strings.Fields(users) {
		user, wrong := strings.CutSuffix(u, "?")
		user, gone := strings.CutSuffix(user, "!")
		switch {
		case gone:
			all = append(all, credentials.Candidate{Name: "login " + user, Auth: unavailable{}})
		case wrong:
			all = append(all, credentials.Fixed("login "+user, authn.AuthConfig{Username: user, Password: "hidden-wrong"}))
		default:
			all = append(all, credentials.Fixed("login "+user, authn.AuthConfig{Username: user, Password: "hidden-" + user}))
		}
	}
	return all
}

type unavailable struct{}

// Authorization implements authn.Authenticator.
func (unavailable) Authorization() (*authn.AuthConfig, error) {
	return nil, &credentials.UnavailableError{Err: errors.New("its helper\nis missing")}
}

// uses are what is done with credentials in a build. ref is an image that is there.
func uses(t *testing.T) map[string]func(ctx context.Context, c *registry.Client, ref string) error {
	img := imageWith(t, amd64, "new")
	repository := func(c *registry.Client, ref string, f func(*registry.Repository) error) error {
		r, err := c.Repository(strings.TrimSuffix(ref, ":1"))
		if err != nil {
			return err
		}
		return f(r)
	}
	return map[string]func(context.Context, *registry.Client, string) error{
		"pull": func(_ context.Context, c *registry.Client, ref string) error {
			_, err := readLayer(t, c, ref)
			return err
		},
		"push": func(ctx context.Context, c *registry.Client, ref string) error {
			d, err := c.Destinations([]string{strings.Replace(ref, ":1", ":2", 1)})
			if err != nil {
				return err
			}
			return errors.Join(d.Push(ctx, img), d.Tag(ctx, img))
		},
		"read from a cache": func(ctx context.Context, c *registry.Client, ref string) error {
			return repository(c, ref, func(r *registry.Repository) error { _, err := r.Manifest(ctx, "1"); return err })
		},
		"write to a cache": func(ctx context.Context, c *registry.Client, ref string) error {
			return repository(c, ref, func(r *registry.Repository) error {
				raw, err := img.RawManifest()
				return errors.Join(err, r.PutManifest(ctx, "3", raw))
			})
		},
		"read by a library": func(ctx context.Context, c *registry.Client, ref string) error {
			r, err := c.ParseReference(ref)
			if err != nil {
				return err
			}
			return c.Lend(ctx, r.Context(), false, func(opts []remote.Option) error { _, err := remote.Get(r, opts...); return err })
		},
		"write by a library": func(ctx context.Context, c *registry.Client, ref string) error {
			r, err := c.ParseDestination(ref)
			if err != nil {
				return err
			}
			return c.Lend(ctx, r.Context(), true, func(opts []remote.Option) error {
				if _, err := remote.Get(r, opts...); err != nil {
					return err
				}
				return remote.Write(r.Context().Tag("4"), img, opts...)
			})
		},
		"prune a cache": func(ctx context.Context, c *registry.Client, ref string) error {
			return repository(c, ref, func(r *registry.Repository) error { return r.Delete(ctx, []string{"1"}) })
		},
	}
}

// Credentials are tried in their order, whatever is done with them and however the registry refuses them.
func TestNextCredentials(t *testing.T) {
	onlyAnn := func(user string, _ *http.Request) bool { return user == "ann" }
	everybody := func(string, *http.Request) bool { return true }
	for name, test := range map[string]struct {
		users string
		may   func(string, *http.Request) bool
		tried string // of the error; "" for none
	}{
		"the first":                      {"ann tom", onlyAnn, ""},
		"after a wrong password":         {"ann? ann", onlyAnn, ""},
		"after one without the right":    {"tom ann", onlyAnn, ""},
		"after one without its helper":   {"tom! ann", onlyAnn, ""},
		"after several":                  {"tom! tom ann? tom? ann", onlyAnn, ""},
		"none, although some are there":  {"tom! ann? tom", everybody, ""},
		"nobody, where everybody may":    {"", everybody, ""},
		"after all, where everybody may": {"ann? tom?", everybody, ""},
		"all are refused":                {"tom ann? eve!", onlyAnn, "tried: login tom, login ann, login eve (its helper is missing), no credentials"},
		"there are none":                 {"", onlyAnn, "no credentials are known for it"},
	} {
		for _, token := range []bool{false, true} {
			for use, do := range uses(t) {
				t.Run(fmt.Sprintf("%s/token %t/%s", name, token, use), func(t *testing.T) {
					s := serve(t)
					ref := s.put(t, "team/app:1", imageWith(t, amd64, "content"))
					s.interceptWith((&accounts{may: test.may, token: token}).guard(s))
					c := newClient(t, registry.Options{Credentials: as(test.users), Warn: func(m string) {
						if strings.Contains(m, "\n") || strings.Contains(m, "hidden") {
							t.Errorf("warned %q", m)
						}
					}})
					err := do(t.Context(), c, ref)
					if test.tried == "" {
						if err != nil {
							t.Error(err)
						}
						return
					}
					if kindOf(t, err) != registry.Unauthorized || !strings.Contains(err.Error(), test.tried) || strings.Contains(err.Error(), "hidden") {
						t.Errorf("got %v", err)
					}
				})
			}
		}
	}
}

// What worked is used from then on, and the user hears once what did not.
func TestWorkingCredentialsAreRemembered(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "content"))
	guard := (&accounts{may: func(user string, _ *http.Request) bool { return user == "ann" }}).guard(s)
	var refused atomic.Int32
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if user, _, _ := r.BasicAuth(); user == "tom" && r.URL.Path != "/v2/" {
			refused.Add(1)
		}
		return guard(w, r)
	})
	var warnings []string
	c := newClient(t, registry.Options{Credentials: as("tom ann"), Warn: func(m string) { warnings = append(warnings, m) }})
	for range 2 {
		if err := uses(t)["pull"](t.Context(), c, ref); err != nil {
			t.Fatal(err)
		}
	}
	want := s.host + "/app: login tom did not work; going on with login ann"
	if refused.Load() != 1 || len(warnings) != 1 || warnings[0] != want {
		t.Errorf("%d requests as tom; warned %q, want %q", refused.Load(), warnings, want)
	}
}

// Tokens of registries hold for minutes. One that expires is got anew, with the same credentials.
func TestTokenThatExpires(t *testing.T) {
	for use, do := range uses(t) {
		t.Run(use, func(t *testing.T) {
			s := serve(t)
			ref := s.put(t, "app:1", imageWith(t, amd64, "content"))
			a := &accounts{may: func(user string, _ *http.Request) bool { return user == "ann" }, token: true}
			guard := a.guard(s)
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if guard(w, r) {
					return true
				}
				if strings.Contains(r.URL.Path, "/manifests/") {
					a.generation.Add(1)
				}
				return false
			})
			c := newClient(t, registry.Options{Credentials: as("ann"), Warn: func(m string) { t.Error(m) }})
			for range 2 {
				if err := do(t.Context(), c, ref); err != nil {
					t.Fatal(err)
				}
			}
			if n := a.given.Load(); n < 2 {
				t.Errorf("%d tokens", n)
			}
		})
	}
}
