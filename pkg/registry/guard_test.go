package registry_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/registry"
)

// stranger is another host than the registry. It notes what it is shown.
type stranger struct {
	*httptest.Server
	port string

	mu    sync.Mutex
	shown []string // path, headers and body
}

func newStranger(t *testing.T, answer http.HandlerFunc) *stranger {
	t.Helper()
	s := &stranger{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		s.shown = append(s.shown, fmt.Sprint(r.URL, r.Header, string(body), err))
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	s.port = s.URL[strings.LastIndexByte(s.URL, ':')+1:]
	return s
}

// requests is how many it got, and secret one that had a secret, in any form.
func (s *stranger) requests() (n int, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shown := range s.shown {
		if strings.Contains(shown, "hidden") || strings.Contains(shown, "Authorization") {
			secret = shown
		}
	}
	return len(s.shown), secret
}

// A registry that keeps its blobs elsewhere gets the credentials, and where it keeps them does not.
func TestRedirectOfBlobs(t *testing.T) {
	for _, token := range []bool{false, true} {
		t.Run(fmt.Sprintf("token %t", token), func(t *testing.T) {
			s := serve(t)
			ref := s.put(t, "app:1", imageWith(t, amd64, "content"))
			other := newStranger(t, func(w http.ResponseWriter, r *http.Request) { s.inner.ServeHTTP(w, r) })
			guard := (&accounts{may: func(user string, _ *http.Request) bool { return user == "ann" }, token: token}).guard(s)
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if guard(w, r) {
					return true
				}
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			})
			if _, err := readLayer(t, newClient(t, registry.Options{Credentials: as("ann")}), ref); err != nil {
				t.Fatal(err)
			}
			if n, secret := other.requests(); n == 0 || secret != "" {
				t.Errorf("%d requests; shown: %s", n, secret)
			}
		})
	}
}

// What storage refuses has nothing to do with credentials.
func TestRefusalOfStorage(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "content"))
	other := newStranger(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	_, err := readLayer(t, newClient(t, registry.Options{Credentials: as("ann tom")}), ref)
	if err == nil || strings.Contains(err.Error(), "tried") {
		t.Errorf("got %v", err)
	}
	if n, _ := other.requests(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// Token servers are other hosts than registries, but they are not to be other than the registry says, and are not
// shown credentials in the clear.
func TestTokenServers(t *testing.T) {
	identity := logins{credentials.Fixed("login token", authn.AuthConfig{IdentityToken: "hidden-token"})}
	for name, test := range map[string]struct {
		tls      bool
		realm    string // STRANGER for the port of another host's server, TOKEN for the registry's own
		logins   logins
		redirect bool // of the registry's own token server to the stranger
		reached  bool // whether the stranger is
	}{
		"in the clear, for a registry with TLS":           {true, "http://localhost:STRANGER/token", as("ann"), false, false},
		"in the clear, with an identity token":            {true, "http://localhost:STRANGER/token", identity, false, false},
		"that redirects, with a password":                 {false, "TOKEN", as("ann"), true, true},
		"that redirects, with an identity token":          {false, "TOKEN", identity, true, false},
		"that redirects to the clear":                     {true, "TOKEN", as("ann"), true, false},
		"that redirects to the clear, an identity token":  {true, "TOKEN", identity, true, false},
		"on this machine, for a registry that is not":     {true, "https://169.254.169.254/token", as("ann"), false, false},
		"that is no URL":                                  {false, "STRANGER", as("ann"), false, false},
		"of another scheme":                               {false, "file:///etc/passwd", as("ann"), false, false},
		"in the clear, for a registry without TLS, as is": {false, "http://localhost:STRANGER/token", logins{}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			start := httptest.NewServer
			if test.tls {
				start = httptest.NewTLSServer
			}
			s := newServer(t, start)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			other := newStranger(t, func(w http.ResponseWriter, _ *http.Request) {
				_ = json.NewEncoder(w).Encode(map[string]string{"token": "t"})
			})
			realm := strings.NewReplacer("STRANGER", other.port, "TOKEN", s.URL+"/token").Replace(test.realm)
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/token" {
					http.Redirect(w, r, "http://localhost:"+other.port+"/token", http.StatusTemporaryRedirect)
					return true
				}
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test"`, realm))
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
				return true
			})
			lax := registry.Access{SkipTLSVerify: true}
			_, err := newClient(t, registry.Options{Credentials: test.logins, Pull: lax}).Resolve(t.Context(), s.host+"/app:1", amd64)
			if err == nil {
				t.Error("there is an image")
			}
			n, secret := other.requests()
			if (n > 0) != test.reached || secret != "" {
				t.Errorf("%d requests; shown: %s; %v", n, secret, err)
			}
		})
	}
}

// A registry with TLS cannot make us give that up.
func TestRedirectToPlainHTTP(t *testing.T) {
	s := newServer(t, httptest.NewTLSServer)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	other := newStranger(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
	})
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://127.0.0.1:"+other.port+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	c := newClient(t, registry.Options{Credentials: as("ann"), Pull: registry.Access{SkipTLSVerify: true}})
	if _, err := c.Resolve(t.Context(), s.host+"/app:1", amd64); err == nil {
		t.Error("there is an image")
	}
	if n, _ := other.requests(); n != 0 {
		t.Errorf("%d requests by plain HTTP", n)
	}
}

// The registry that most others are made from, with a file of users.
func TestDistributionWithLogin(t *testing.T) {
	r := distribution.ServeTo(t, "ann", "hidden-ann")
	c := newClient(t, registry.Options{Credentials: as("tom eve! ann? ann")})
	d, err := c.Destinations([]string{r.Host + "/team/app:1", r.Host + "/team/other:1"})
	if err != nil {
		t.Fatal(err)
	}
	img := imageWith(t, amd64, "content")
	if err := d.Push(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if err := d.Tag(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if _, err := readLayer(t, newClient(t, registry.Options{Credentials: as("ann? ann")}), r.Host+"/team/app:1"); err != nil {
		t.Error(err)
	}
	_, err = readLayer(t, newClient(t, registry.Options{Credentials: as("ann? tom")}), r.Host+"/team/app:1")
	if kindOf(t, err) != registry.Unauthorized || !strings.Contains(err.Error(), "tried: login ann, login tom, no credentials") {
		t.Errorf("got %v", err)
	}
}

// Which repository a login is asked for.
func TestCredentialsByRepository(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "team/app:1", imageWith(t, amd64, "content"))
	s.interceptWith((&accounts{may: func(user string, _ *http.Request) bool { return user == "ann" }}).guard(s))
	asked := byRepository{s.host + "/team/app": as("ann")}
	if _, err := readLayer(t, newClient(t, registry.Options{Credentials: asked}), ref); err != nil {
		t.Error(err)
	}
}

type byRepository map[string]logins

// Candidates implements credentials.Source.
func (b byRepository) Candidates(repo name.Repository) []credentials.Candidate {
	return b[repo.String()]
}
