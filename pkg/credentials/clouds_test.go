package credentials

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// service is a cloud's services on loopback: an answer for each request that contains the key, in its path, headers or
// body. It notes what was asked.
type service struct {
	answers map[string]string

	mu   sync.Mutex
	seen []string
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	asked := fmt.Sprintf("%s %s%s %s %s %s", r.Method, r.Host, r.URL.Path, r.Header.Get("X-Amz-Target"), r.Header.Get("Authorization"), body)
	s.mu.Lock()
	s.seen = append(s.seen, asked)
	s.mu.Unlock()
	for key, answer := range s.answers {
		if strings.Contains(asked, key) {
			if !strings.HasPrefix(answer, "<") {
				w.Header().Set("Content-Type", "application/json")
			}
			_, _ = io.WriteString(w, answer)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

// asked reports whether one request contained all parts.
func (s *service) asked(parts ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seen := range s.seen {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(seen, p)
		}
		if all {
			return true
		}
	}
	return false
}

// noCloud takes what the machine has of clouds' identities out of the environment.
func noCloud(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "GOOGLE_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// loginOf is what the only built-in helper for a host gives.
func loginOf(t *testing.T, host string) (*authn.AuthConfig, error) {
	t.Helper()
	helpers, err := builtin(nil, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository(host + "/app")
	if err != nil {
		t.Fatal(err)
	}
	all := helpers.Candidates(repo)
	if len(all) != 1 {
		t.Fatalf("%d candidates", len(all))
	}
	return authn.Authorization(t.Context(), all[0].Auth)
}

func TestECR(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte("AWS:ecr-password"))
	expires := time.Now().Add(12 * time.Hour).Unix()
	const assumed = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>` +
		`<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>` +
		`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
	const podRole = `{"AccessKeyId":"ASIAPOD","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`
	const private, public = "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"
	for name, test := range map[string]struct {
		host string
		env  map[string]string
		as   string // the key that the request was signed with; "" for no login
	}{
		"keys": {private, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDKEY", "AWS_SECRET_ACCESS_KEY": "s"}, "Credential=AKIDKEY/"},
		"the role of an EKS service account": {private, map[string]string{
			"AWS_WEB_IDENTITY_TOKEN_FILE": secretFile(t, "projected"), "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/build",
		}, "Credential=ASIAROLE/"},
		"an EKS pod identity": {private, map[string]string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": "URL/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": secretFile(t, "projected"),
		}, "Credential=ASIAPOD/"},
		"the public registry": {public, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDKEY", "AWS_SECRET_ACCESS_KEY": "s"}, "Credential=AKIDKEY/"},
		"nothing":             {private, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{answers: map[string]string{
				"AssumeRoleWithWebIdentity": assumed,
				"/v1/credentials":           podRole,
				"AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken": fmt.Sprintf(`{"authorizationData":[{"authorizationToken":%q,"expiresAt":%d}]}`, token, expires),
				"SpencerFrontendService.GetAuthorizationToken":               fmt.Sprintf(`{"authorizationData":{"authorizationToken":%q,"expiresAt":%d}}`, token, expires),
			}}
			server := httptest.NewServer(s)
			defer server.Close()
			noCloud(t)
			for _, of := range []string{"ECR", "ECR_PUBLIC", "STS"} {
				t.Setenv("AWS_ENDPOINT_URL_"+of, server.URL)
			}
			for name, value := range test.env {
				t.Setenv(name, strings.Replace(value, "URL", server.URL, 1))
			}
			l, err := loginOf(t, test.host)
			switch {
			case test.as == "":
				if err == nil || !strings.Contains(err.Error(), "no identity at AWS") {
					t.Errorf("got %v, %v", l, err)
				}
			case err != nil || l.Username != "AWS" || l.Password != "ecr-password":
				t.Errorf("got %v, %v", l, err)
			case !s.asked("GetAuthorizationToken", test.as):
				t.Errorf("not signed by %s", test.as)
			}
			region := map[string]string{private: "/eu-west-1/ecr/", public: "/us-east-1/ecr-public/"}[test.host]
			if test.as != "" && !s.asked("GetAuthorizationToken", region) {
				t.Errorf("not signed for %s", region)
			}
		})
	}
}

// On GKE the metadata server gives the token of the pod's workload identity.
func TestGoogle(t *testing.T) {
	noCloud(t)
	s := &service{answers: map[string]string{
		"/service-accounts/default/token": `{"access_token":"workload","expires_in":3600,"token_type":"Bearer"}`,
		"/project/project-id":             "p",
	}}
	server := httptest.NewServer(s)
	defer server.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
	for _, host := range []string{"gcr.io", "europe-west1-docker.pkg.dev"} {
		if l, err := loginOf(t, host); err != nil || l.Username != "oauth2accesstoken" || l.Password != "workload" {
			t.Errorf("%s: got %v, %v", host, l, err)
		}
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	if l, err := loginOf(t, "gcr.io"); err == nil || !strings.Contains(err.Error(), "missing.json") {
		t.Errorf("a key that is missing: got %v, %v", l, err)
	}
}

// On AKS the service account's token is exchanged for one of Azure's, and the registry exchanges that for its own.
func TestACR(t *testing.T) {
	const authority = "https://login.example.com"
	identity := map[string]string{
		"/discovery/instance": `{"tenant_discovery_endpoint":"` + authority + `/tenant/v2.0/.well-known/openid-configuration"}`,
		"openid-configuration": `{"issuer":"` + authority + `/tenant/v2.0","authorization_endpoint":"` + authority + `/tenant/oauth2/v2.0/authorize","token_endpoint":"` +
			authority + `/tenant/oauth2/v2.0/token"}`,
		"/oauth2/v2.0/token": `{"access_token":"azure-token","expires_in":3600,"token_type":"Bearer"}`,
	}
	for name, test := range map[string]struct {
		exchange string // what the registry answers
		want     string // password, or part of the error
	}{
		"a login":                    {`{"refresh_token":"acr-token"}`, "acr-token"},
		"a registry that refuses":    {"", "x.azurecr.io does not take the identity at Azure"},
		"an answer without a token":  {`{}`, "its answer holds no token"},
		"an answer that is not JSON": {`azure-token`, "its answer holds no token"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{answers: map[string]string{}}
			for key, answer := range identity {
				s.answers[key] = answer
			}
			if test.exchange != "" {
				s.answers["x.azurecr.io/oauth2/exchange"] = test.exchange
			}
			noCloud(t)
			t.Setenv("AZURE_AUTHORITY_HOST", authority)
			t.Setenv("AZURE_CLIENT_ID", "client")
			t.Setenv("AZURE_TENANT_ID", "tenant")
			t.Setenv("AZURE_FEDERATED_TOKEN_FILE", secretFile(t, "projected"))
			l, err := acr{client: everywhere(t, s)}.login(t.Context(), "x.azurecr.io")
			switch {
			case err != nil:
				if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "azure-token") {
					t.Errorf("got %v", err)
				}
			case l.Username != acrUser || l.Password != test.want || time.Until(l.expires) < time.Hour:
				t.Errorf("got %v", l)
			}
			if !s.asked("/oauth2/v2.0/token", "client_assertion=projected") || !s.asked("x.azurecr.io/oauth2/exchange", "access_token=azure-token", "service=x.azurecr.io") {
				t.Error("nothing was exchanged")
			}
		})
	}
}

// A registry that sends the exchange elsewhere does not get the token there.
func TestACRFollowsNoRedirect(t *testing.T) {
	s := &service{answers: map[string]string{}}
	client := everywhere(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "x.azurecr.io" {
			http.Redirect(w, r, "https://x.azurecr.io.evil.com/oauth2/exchange", http.StatusTemporaryRedirect)
			return
		}
		s.ServeHTTP(w, r)
	}))
	if token, err := (acr{client: client}).exchange(t.Context(), "x.azurecr.io", "azure-token"); err == nil || s.asked("") {
		t.Errorf("got %q; asked elsewhere: %t", token, s.asked(""))
	}
}

// everywhere is a client for which every host is h.
func everywhere(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // for hosts that are not there
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	return &http.Client{Transport: transport}
}
