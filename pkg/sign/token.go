package sign

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/slipway-build/slipway/pkg/registry"
)

// audience is whom the tokens must be made for.
const audience = "sigstore"

// projectedToken is where a pod mounts the token of its service account for this purpose.
const projectedToken = "/var/run/sigstore/cosign/oidc-token"

// Variables that have tokens, or say where to get one.
const (
	tokenVariable         = "SIGSTORE_ID_TOKEN"
	githubURLVariable     = "ACTIONS_ID_TOKEN_REQUEST_URL"
	githubRequestVariable = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
)

// tokens finds identity tokens, and keeps one while it holds. A build may take longer than a token does, so it is looked for again then:
// files are renewed by the kubelet, and services make new ones.
type tokens struct {
	client *registry.Client
	file   string // that the user gave

	mu   sync.Mutex
	have idToken
}

// idToken is a token with what it says of itself, which nobody but Fulcio verifies.
type idToken struct {
	raw, origin     string
	subject, issuer string
	until           time.Time // zero if it does not say
}

func newTokens(client *registry.Client, file string) *tokens {
	return &tokens{client: client, file: file}
}

// tokenReserve is what a token must still hold for.
const tokenReserve = 30 * time.Second

// get gives a token that holds.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.have.raw != "" && (t.have.until.IsZero() || time.Until(t.have.until) > tokenReserve) {
		return t.have.raw, nil
	}
	raw, origin, err := t.find(ctx)
	if err != nil {
		return "", err
	}
	found, err := parseToken(raw)
	if err != nil {
		return "", fmt.Errorf("the identity token from %s cannot be used: %w", origin, err)
	}
	found.origin = origin
	t.have = found
	return raw, nil
}

// String is whose token it is.
func (t *tokens) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%s (%s)", t.have.subject, t.have.issuer)
}

// find looks for a token where there may be one.
func (t *tokens) find(ctx context.Context) (raw, origin string, err error) {
	if t.file != "" {
		raw, err = readToken(t.file)
		return raw, t.file, err
	}
	if raw := strings.TrimSpace(os.Getenv(tokenVariable)); raw != "" {
		return raw, "$" + tokenVariable, nil
	}
	raw, err = readToken(projectedToken)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return raw, projectedToken, err
	}
	if os.Getenv(githubURLVariable) != "" && os.Getenv(githubRequestVariable) != "" {
		raw, err = t.fromGitHub(ctx)
		return raw, "GitHub Actions", err
	}
	if metadata.OnGCEWithContext(ctx) {
		raw, err = t.fromGoogle(ctx)
		return raw, "Google's metadata server", err
	}
	return "", "", fmt.Errorf("keyless signing needs an identity token, and there is none: neither $%s, nor %s (a projected service account token of audience %s), nor GitHub's $%s, nor Google's metadata server",
		tokenVariable, projectedToken, audience, githubURLVariable)
}

func readToken(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the identity token: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// fromGitHub asks for a token of the running job, which must have the permission "id-token: write".
func (t *tokens) fromGitHub(ctx context.Context) (string, error) {
	const name = "GitHub's token service"
	u, err := url.Parse(os.Getenv(githubURLVariable))
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("$%s is no URL", githubURLVariable)
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "bearer "+os.Getenv(githubRequestVariable))
	resp, err := newService(ctx, t.client, name, u.Host).httpClient().Do(req)
	if err != nil {
		return "", plain(ctx, err)
	}
	body, err := io.ReadAll(resp.Body) // it has been read, see service
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return "", err
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Value == "" {
		return "", fmt.Errorf("%s (%s) gave no token", name, u.Host)
	}
	return answer.Value, nil
}

// fromGoogle asks for a token of the machine's or, on GKE, the pod's service account.
func (t *tokens) fromGoogle(ctx context.Context) (string, error) {
	const name = "Google's metadata server"
	way := newService(ctx, t.client, name, "metadata.google.internal")
	raw, err := metadata.NewClient(way.httpClient()).GetWithContext(ctx, "instance/service-accounts/default/identity?format=full&audience="+audience)
	if err != nil {
		return "", plain(ctx, err)
	}
	return strings.TrimSpace(raw), nil
}

// parseToken reads what a token says, and refuses what Fulcio would. Nothing of the token gets into an error.
func parseToken(raw string) (idToken, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return idToken{}, errors.New("it is no signed JSON web token")
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return idToken{}, errors.New("it is no signed JSON web token")
	}
	var claims struct {
		Issuer  string  `json:"iss"`
		Subject string  `json:"sub"`
		Email   string  `json:"email"`
		Expiry  float64 `json:"exp"`
	}
	if json.Unmarshal(content, &claims) != nil {
		return idToken{}, errors.New("it is no signed JSON web token")
	}
	t := idToken{raw: raw, issuer: claims.Issuer, subject: claims.Subject}
	if claims.Email != "" {
		t.subject = claims.Email
	}
	if t.subject == "" || t.issuer == "" {
		return idToken{}, errors.New("it does not say who it is for, and who made it")
	}
	if claims.Expiry > 0 {
		t.until = time.Unix(int64(claims.Expiry), 0)
		if !time.Now().Before(t.until) {
			return idToken{}, fmt.Errorf("it expired at %s", t.until.UTC().Format(time.RFC3339))
		}
	}
	return t, nil
}
