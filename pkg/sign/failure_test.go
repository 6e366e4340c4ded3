package sign_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/sign"
)

// noAmbient leaves no token in the environment, nor a password.
func noAmbient(t *testing.T) {
	t.Helper()
	for _, name := range []string{"SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GCE_METADATA_HOST", "COSIGN_PASSWORD"} {
		t.Setenv(name, "")
		check(t, os.Unsetenv(name))
	}
}

// What cannot work is refused before anything is built.
func TestRefusedOptions(t *testing.T) {
	noAmbient(t)
	services := sigstore.Serve(t)
	dir, _ := keyPair(t)
	no, yes := false, true
	plainKey := filepath.Join(t.TempDir(), "cosign.key")
	check(t, os.WriteFile(plainKey, []byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAA\n-----END PRIVATE KEY-----\n"), 0o600))
	noLog := services.SigningConfigFile(t)
	content, err := os.ReadFile(noLog)
	check(t, err)
	check(t, os.WriteFile(noLog, []byte(strings.Replace(string(content), `"rekorTlogUrls"`, `"oidcUrls"`, 1)), 0o600))
	key := sign.Options{Method: sign.Key, Key: dir}
	for want, o := range map[string]func(*sign.Options){
		`no way of signing ""`:                  func(o *sign.Options) { o.Method = "" },
		`no way of signing "none"`:              func(o *sign.Options) { o.Method = sign.None },
		`no format "x"`:                         func(o *sign.Options) { o.Format = "x" },
		"needs one: a file":                     func(o *sign.Options) { o.Key = "" },
		"and signing is to be keyless":          func(o *sign.Options) { o.Method = sign.Keyless },
		"and signing is to be with a key":       func(o *sign.Options) { o.IdentityToken = "x" },
		"certifies no keys that one has":        func(o *sign.Options) { o.FulcioURL = services.FulcioURL },
		"and not by both":                       func(o *sign.Options) { o.RekorURL, o.SigningConfig = services.RekorURL, noLog },
		"no log":                                func(o *sign.Options) { o.Tlog, o.SigningConfig = &yes, noLog },
		"signing configuration /does/not/exist": func(o *sign.Options) { o.SigningConfig = "/does/not/exist" },
		"reading the trusted root":              func(o *sign.Options) { o.TrustedRoot = "/does/not/exist" },
		"the URL of Rekor is not of the form":   func(o *sign.Options) { o.RekorURL = "rekor.example.com" },
		"the URL of the timestamp authority is": func(o *sign.Options) { o.TSAURL = "ftp://example.com" },
		"has a user in it":                      func(o *sign.Options) { o.RekorURL = "https://me:hunter2@example.com" },
		"an annotation has no key":              func(o *sign.Options) { o.Annotations = map[string]string{"": "x"} },
		"needs proof of its time":               func(o *sign.Options) { o.Method, o.Key, o.Tlog = sign.Keyless, "", &no },

		"/does/not/exist: no such file":                                func(o *sign.Options) { o.Key = "/does/not/exist" },
		"cosign.key: no such file":                                     func(o *sign.Options) { o.Key = t.TempDir() },
		"KEY, which is not set":                                        func(o *sign.Options) { o.Key = "env://KEY" },
		"keys of awskms: are not built in":                             func(o *sign.Options) { o.Key = "awskms:///alias/x" },
		"keys of gcpkms: are not built in":                             func(o *sign.Options) { o.Key = "gcpkms://projects/x" },
		"keys of azurekms: are not built in":                           func(o *sign.Options) { o.Key = "azurekms://x/y" },
		"keys of hashivault: are not built in":                         func(o *sign.Options) { o.Key = "hashivault://x" },
		"keys of k8s: are not built in":                                func(o *sign.Options) { o.Key = "k8s://ns/name" },
		"keys of gitlab: are not built in":                             func(o *sign.Options) { o.Key = "gitlab://project" },
		"keys of pkcs11: are not built in":                             func(o *sign.Options) { o.Key = "pkcs11:token=x;pin-value=1234" },
		"is a key itself":                                              func(o *sign.Options) { o.Key = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----" },
		"an empty password, for there is neither cosign.password":      func(o *sign.Options) { o.Key = copyOf(t, filepath.Join(dir, "cosign.key")) },
		`(it is one that "cosign generate-key-pair" or "cosign import`: func(o *sign.Options) { o.Key = plainKey },
	} {
		opts := key
		o(&opts)
		_, err := sign.New(t.Context(), opts, client(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
			continue
		}
		for _, secret := range []string{password, "hunter2", "1234", "BEGIN"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a secret: %v", err)
			}
		}
	}
}

func copyOf(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	check(t, err)
	to := filepath.Join(t.TempDir(), filepath.Base(file))
	check(t, os.WriteFile(to, content, 0o600))
	return to
}

// The password is beside the key, else in the environment; the key can be there, too.
func TestWhereKeysAre(t *testing.T) {
	noAmbient(t)
	dir, public := keyPair(t)
	ref := image(t, withReferrers(t)+"/app")
	content, err := os.ReadFile(filepath.Join(dir, "cosign.key"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "cosign.password"), []byte(password+"\n"), 0o600)) // as an editor leaves it
	t.Setenv("SIGNING_KEY", string(content))
	alone := copyOf(t, filepath.Join(dir, "cosign.key"))
	for _, c := range []struct{ key, env string }{{dir, "wrong"}, {filepath.Join(dir, "cosign.key"), "wrong"}, {alone, password}, {"env://SIGNING_KEY", password}} {
		t.Setenv("COSIGN_PASSWORD", c.env)
		check(t, signer(t, sign.Options{Method: sign.Key, Key: c.key}).Sign(t.Context(), ref))
	}
	found, err := verify(t.Context(), ref, sign.Signature, byKey(public))
	if err != nil || len(found) != 1 {
		t.Errorf("%d signatures, %v", len(found), err)
	}
	t.Setenv("COSIGN_PASSWORD", "wrong")
	if _, err := sign.New(t.Context(), sign.Options{Method: sign.Key, Key: alone}, client(t)); err == nil || !strings.Contains(err.Error(), "the password in $COSIGN_PASSWORD") {
		t.Errorf("a wrong password: %v", err)
	}
}

// Failures of services that may pass are told apart from those that will not, and repeated. No error shows the token.
func TestServiceFailures(t *testing.T) {
	ref := image(t, withReferrers(t)+"/app")
	answers := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"code":%d,"message":"no: %s"}`, status, r.Header.Get("Authorization"))
			return true
		}
	}
	breaks := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	for name, c := range map[string]struct {
		service  string
		fault    func(http.ResponseWriter, *http.Request) bool
		says     string
		passing  bool
		requests int
	}{
		"Fulcio is busy":           {sigstore.Fulcio, answers(503), "Fulcio (", true, 2},
		"Fulcio breaks off":        {sigstore.Fulcio, breaks, "Fulcio (", true, 2},
		"Fulcio refuses the token": {sigstore.Fulcio, answers(401), "401 Unauthorized", false, 1},
		"Fulcio finds a fault":     {sigstore.Fulcio, answers(400), "400 Bad Request", false, 1},
		"Rekor is busy":            {sigstore.Rekor, answers(500), "Rekor (", true, 2},
		"Rekor breaks off":         {sigstore.Rekor, breaks, "Rekor (", true, 2},
		"Rekor refuses":            {sigstore.Rekor, answers(400), "400 Bad Request", false, 1},
		"Rekor redirects":          {sigstore.Rekor, answers(307), "307", false, 1},
		"TSA is busy":              {sigstore.TSA, answers(429), "the timestamp authority (", true, 2},
		"Fulcio is something else": {sigstore.Fulcio, answers(200), `Fulcio (`, false, 1},
		"Rekor is something else":  {sigstore.Rekor, answers(201), `Rekor (`, false, 1},
		"TSA is something else":    {sigstore.TSA, answers(200), "the timestamp authority (", false, 1},
		"TSA refuses":              {sigstore.TSA, answers(403), "403 Forbidden", false, 1},
	} {
		for _, format := range formats() {
			t.Run(name+"/"+string(format), func(t *testing.T) {
				services := sigstore.Serve(t)
				o := keyless(t, services)
				o.TSAURL, o.Format = services.TSAURL, format
				services.Before(c.service, c.fault)
				err := signer(t, o).Sign(t.Context(), ref)
				var service *sign.ServiceError
				if !errors.As(err, &service) || service.Temporary() != c.passing || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v", err)
				}
				if token, _ := os.ReadFile(o.IdentityToken); strings.Contains(err.Error(), strings.TrimSpace(string(token))) {
					t.Errorf("the error shows the token: %v", err)
				}
				if n := services.Requests(c.service); n != c.requests {
					t.Errorf("%d requests, want %d", n, c.requests)
				}
				if _, err := verify(t.Context(), ref, format, byIdentity(t, services)); err == nil {
					t.Error("and yet it is signed")
				}
			})
		}
	}
}

// Nobody listens.
func TestUnreachableServices(t *testing.T) {
	services := sigstore.Serve(t)
	ref := image(t, withReferrers(t)+"/app")
	for name, change := range map[string]func(*sign.Options){
		"Fulcio (http://127.0.0.1:1)":                  func(o *sign.Options) { o.FulcioURL = "http://127.0.0.1:1" },
		"Rekor (http://127.0.0.1:1)":                   func(o *sign.Options) { o.RekorURL = "http://127.0.0.1:1/" },
		"the timestamp authority (http://127.0.0.1:1)": func(o *sign.Options) { o.TSAURL = "http://127.0.0.1:1" },
	} {
		o := keyless(t, services)
		change(&o)
		err := signer(t, o).Sign(t.Context(), ref)
		var service *sign.ServiceError
		if !errors.As(err, &service) || !service.Temporary() || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error with %q", err, name)
		}
	}
}

// An answer that got lost leaves an entry, which is taken when the request is made again.
func TestLostAnswerOfLog(t *testing.T) {
	for _, format := range formats() {
		services := sigstore.Serve(t)
		ref := image(t, withReferrers(t)+"/app")
		var lost atomic.Bool
		services.Before(sigstore.Rekor, func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || lost.Swap(true) {
				return false
			}
			services.Before(sigstore.Rekor, nil)
			services.ServeRekor(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
		o := keyless(t, services)
		o.Format = format
		check(t, signer(t, o).Sign(t.Context(), ref))
		if _, err := verify(t.Context(), ref, format, byIdentity(t, services)); err != nil || services.Entries() != 1 {
			t.Errorf("%d entries, %v", services.Entries(), err)
		}
	}
}

// A signature that does not verify is not stored: here the trusted root is that of other services.
func TestDistrustedSignature(t *testing.T) {
	services, others := sigstore.Serve(t), sigstore.Serve(t)
	ref := image(t, withReferrers(t)+"/app")
	for _, format := range formats() {
		o := keyless(t, services)
		o.TrustedRoot, o.Format = others.TrustedRootFile(t), format
		if err := signer(t, o).Sign(t.Context(), ref); err == nil {
			t.Error("it was made")
		}
		if _, err := verify(t.Context(), ref, format, byIdentity(t, services)); err == nil {
			t.Error("it was stored")
		}
	}
}

// Where an identity token comes from, in the order in which it is looked for.
func TestIdentityTokens(t *testing.T) {
	noAmbient(t)
	services := sigstore.Serve(t)
	token := func(account string) string { return services.Token(t, "ci", account, time.Hour) }
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer request-token" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api") != "1" {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"value":%q}`, token("github"))
	}))
	t.Cleanup(github.Close)
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Query().Get("audience") != "sigstore" || !strings.HasSuffix(r.URL.Path, "/instance/service-accounts/default/identity") {
			http.Error(w, "what?", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, token("google"))
	}))
	t.Cleanup(google.Close)
	o := keyless(t, services)
	o.IdentityToken = ""
	has := func(want string) {
		t.Helper()
		s, err := sign.New(t.Context(), o, client(t))
		if err != nil {
			t.Errorf("%s: %v", want, err)
			return
		}
		if got := s.String(); got != "system:serviceaccount:ci:"+want+" ("+sigstore.Issuer+")" {
			t.Errorf("signs as %s, want %s", got, want)
		}
	}
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(google.URL, "http://"))
	has("google")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", github.URL+"/token?api=1")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
	has("github")
	t.Setenv("SIGSTORE_ID_TOKEN", token("environment"))
	has("environment")
	o.IdentityToken = tokenFile(t, token("file"))
	has("file")

	o.IdentityToken = ""
	t.Setenv("SIGSTORE_ID_TOKEN", "")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hunter2")
	_, err := sign.New(t.Context(), o, client(t))
	var service *sign.ServiceError
	if !errors.As(err, &service) || service.Temporary() || !strings.Contains(err.Error(), "GitHub's token service") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a refusal of GitHub's: %v", err)
	}
}

// Tokens that Fulcio would refuse are refused at once.
func TestUnusableTokens(t *testing.T) {
	noAmbient(t)
	services := sigstore.Serve(t)
	whole := services.Token(t, "ci", "builder", time.Hour)
	for want, token := range map[string]string{
		"it expired at":                services.Token(t, "ci", "builder", -time.Second),
		"it is no signed JSON web tok": strings.TrimSuffix(whole, whole[strings.LastIndex(whole, "."):]),
		"signed JSON web token":        "hunter2",
		"is no signed JSON web token":  "a.!.c",
		"it does not say who it is":    "e30.e30.e30",
	} {
		o := keyless(t, services)
		o.IdentityToken = tokenFile(t, token)
		_, err := sign.New(t.Context(), o, client(t))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if n := services.Requests(sigstore.Fulcio); n != 0 {
		t.Errorf("Fulcio was asked %d times", n)
	}

	// For somebody else: only Fulcio knows.
	ref := image(t, withReferrers(t)+"/app")
	o := keyless(t, services)
	o.IdentityToken = tokenFile(t, services.TokenFor(t, "somebody", "ci", "builder", time.Hour))
	var service *sign.ServiceError
	if err := signer(t, o).Sign(t.Context(), ref); !errors.As(err, &service) || service.Temporary() {
		t.Errorf("got %v", err)
	}
}

// A token that a long build has outlived is looked for again, where the kubelet has put a new one meanwhile. Signatures that follow each
// other share a certificate.
func TestRenewedToken(t *testing.T) {
	services := sigstore.Serve(t)
	ref := image(t, withReferrers(t)+"/app")
	o := keyless(t, services)
	check(t, os.WriteFile(o.IdentityToken, []byte(services.Token(t, "ci", "early", 10*time.Second)), 0o600))
	s := signer(t, o)
	check(t, os.WriteFile(o.IdentityToken, []byte(services.Token(t, "ci", "builder", time.Hour)), 0o600))
	check(t, s.Sign(t.Context(), ref))
	check(t, s.Attest(t.Context(), ref, statement(ref, "x")))
	if _, err := verify(t.Context(), ref, sign.Signature, byIdentity(t, services)); err != nil {
		t.Error(err)
	}
	if n := services.Requests(sigstore.Fulcio); n != 1 {
		t.Errorf("Fulcio was asked %d times", n)
	}
}
