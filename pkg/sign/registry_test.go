package sign_test

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/sign"
)

// Signatures are written with the client's logins.
func TestLogins(t *testing.T) {
	const user, secret = "me", "hunter2"
	host := distribution.ServeTo(t, user, secret).Host
	config := filepath.Join(t.TempDir(), "config.json")
	check(t, os.WriteFile(config, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+secret))), 0o600))
	known, err := credentials.Open(credentials.Options{DockerConfig: config, Helpers: []string{}})
	check(t, err)
	c, err := registry.New(t.Context(), registry.Options{Credentials: known})
	check(t, err)
	auth := remote.WithAuth(&authn.Basic{Username: user, Password: secret})
	dir, public := keyPair(t)
	for _, format := range formats() {
		ref := imageWith(t, host+"/app", auth)
		s, err := sign.New(t.Context(), sign.Options{Method: sign.Key, Key: dir, Format: format}, c)
		check(t, err)
		check(t, s.Sign(t.Context(), ref))
		check(t, s.Attest(t.Context(), ref, statement(ref, "x")))
		o := byKey(public)
		o.RegistryClientOpts = []ociremote.Option{ociremote.WithRemoteOptions(auth)}
		if _, err := verify(t.Context(), ref, format, o); err != nil {
			t.Error(err)
		}
	}
	if err := signer(t, sign.Options{Method: sign.Key, Key: dir}).Sign(t.Context(), imageWith(t, host+"/app", auth)); err == nil || !strings.Contains(err.Error(), "no credentials are known") {
		t.Errorf("without a login: %v", err)
	}
}

func imageWith(t *testing.T, repository string, opts ...remote.Option) name.Digest {
	t.Helper()
	repo, err := name.NewRepository(repository)
	check(t, err)
	img, err := random.Image(100, 1)
	check(t, err)
	digest, err := img.Digest()
	check(t, err)
	ref := repo.Digest(digest.String())
	check(t, remote.Write(ref, img, opts...))
	return ref
}

// The client's certificates are those for registries and for services.
func TestCertificates(t *testing.T) {
	services := sigstore.Serve(t)
	store := httptest.NewTLSServer(memory.New(memory.WithReferrersSupport(true), memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(store.Close)
	behindTLS := func(address string) string {
		u, err := url.Parse(address)
		check(t, err)
		front := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host}))
		t.Cleanup(front.Close)
		return front.URL + u.Path
	}
	file := filepath.Join(t.TempDir(), "ca.pem") // all those servers have one certificate
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: store.Certificate().Raw}), 0o600))
	c, err := registry.New(t.Context(), registry.Options{CAFiles: []string{file}})
	check(t, err)
	way := remote.WithTransport(store.Client().Transport)
	for _, format := range formats() {
		ref := imageWith(t, strings.TrimPrefix(store.URL, "https://")+"/app", way)
		o := keyless(t, services)
		o.Format, o.FulcioURL, o.RekorURL, o.TSAURL = format, behindTLS(services.FulcioURL), behindTLS(services.RekorURL), behindTLS(services.TSAURL)
		s, err := sign.New(t.Context(), o, c)
		check(t, err)
		check(t, s.Sign(t.Context(), ref))
		demands := byIdentity(t, services)
		demands.UseSignedTimestamps, demands.RegistryClientOpts = true, []ociremote.Option{ociremote.WithRemoteOptions(way)}
		if _, err := verify(t.Context(), ref, format, demands); err != nil {
			t.Error(err)
		}
		if err := signer(t, o).Sign(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("without those certificates: %v", err)
		}
	}
}

// One signer may sign everything at once, also about one image.
func TestConcurrency(t *testing.T) {
	const statements = 8
	services := sigstore.Serve(t)
	for kind, host := range registries(t) {
		for _, format := range formats() {
			ref := image(t, host+"/app")
			o := keyless(t, services)
			o.Format = format
			s := signer(t, o)
			before := services.Requests(sigstore.Fulcio)
			var wg sync.WaitGroup
			for i := range statements {
				wg.Go(func() {
					if err := s.Attest(t.Context(), ref, statement(ref, fmt.Sprint(i))); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			found, err := verifyStatements(t.Context(), ref, format, byIdentity(t, services))
			if err != nil || len(found) != statements {
				t.Errorf("%s, %s: %d statements, %v", kind, format, len(found), err)
			}
			if n := services.Requests(sigstore.Fulcio) - before; n != 1 {
				t.Errorf("%d certificates", n)
			}
		}
	}
}

// A registry that is busy is asked again, and one that stays so fails in a way that may pass.
func TestBusyRegistry(t *testing.T) {
	dir, public := keyPair(t)
	for _, format := range formats() {
		for name, busy := range map[string]func(method string, times int) bool{
			"once each":   func(method string, times int) bool { return times == 1 && method != http.MethodPatch },
			"all the way": func(method string, _ int) bool { return method == http.MethodPut },
		} {
			var (
				mu   sync.Mutex
				fail func(string, int) bool
				seen = map[string]int{}
			)
			set := func(f func(string, int) bool) {
				mu.Lock()
				defer mu.Unlock()
				fail = f
			}
			inner := memory.New(memory.WithReferrersSupport(true), memory.Logger(log.New(io.Discard, "", 0)))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				if fail != nil {
					seen[r.Method]++
				}
				refused := fail != nil && fail(r.Method, seen[r.Method])
				mu.Unlock()
				if refused {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			ref := image(t, strings.TrimPrefix(server.URL, "http://")+"/app")
			set(busy)
			err := signer(t, sign.Options{Method: sign.Key, Key: dir, Format: format}).Sign(t.Context(), ref)
			set(nil)
			if name == "once each" {
				check(t, err)
				_, err = verify(t.Context(), ref, format, byKey(public))
				check(t, err)
				continue
			}
			var e *registry.Error
			if !errors.As(err, &e) || !e.Temporary() {
				t.Errorf("%s: got %v", format, err)
			}
		}
	}
}
