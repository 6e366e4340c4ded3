package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	acrScope = "https://containerregistry.azure.net/.default"
	// acrLife is how long the registry's token holds, which it does not say.
	acrLife = 3 * time.Hour
	// acrUser is what the registry wants as the name of whoever logs in with a token.
	acrUser = "00000000-0000-0000-0000-000000000000"
	// acrAnswerLimit bounds the answer, in bytes.
	acrAnswerLimit = 1 << 20
)

// acrDomains are those of Azure's clouds, each with where identities are in it.
func acrDomains() map[string]cloud.Configuration {
	return map[string]cloud.Configuration{
		"azurecr.io": cloud.AzurePublic,
		"azurecr.cn": cloud.AzureChina,
		"azurecr.us": cloud.AzureGovernment,
	}
}

// isACR reports whether a host is of Azure's registry.
func isACR(host string) bool {
	for domain := range acrDomains() {
		if below(host, domain) {
			return true
		}
	}
	return false
}

// acr takes what Azure's tools find: the environment, the identity of an AKS pod's service account, or that of the node. The
// registry exchanges it for a token of its own.
type acr struct {
	client   *http.Client // nil for the usual one
	identity azcore.TokenCredential
}

func (a acr) login(ctx context.Context, host string) (login, error) {
	identity := a.identity
	if identity == nil {
		var err error
		if identity, err = azureIdentity(host, a.client); err != nil {
			return login{}, absent(err)
		}
	}
	token, err := identity.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{acrScope}})
	if err != nil {
		return login{}, absent(fmt.Errorf("no identity at Azure: %w", err))
	}
	refresh, err := a.exchange(ctx, host, token.Token)
	if err != nil {
		return login{}, fmt.Errorf("%s does not take the identity at Azure: %w", host, err)
	}
	return login{authn.AuthConfig{Username: acrUser, Password: refresh}, time.Now().Add(acrLife)}, nil
}

// azureIdentity finds who we are in the cloud that a registry is in.
func azureIdentity(host string, client *http.Client) (azcore.TokenCredential, error) {
	var o azidentity.DefaultAzureCredentialOptions
	if client != nil {
		o.Transport = client
	}
	if os.Getenv("AZURE_AUTHORITY_HOST") == "" {
		for domain, c := range acrDomains() {
			if below(host, domain) {
				o.Cloud = c
			}
		}
	}
	return azidentity.NewDefaultAzureCredential(&o)
}

// exchange gives the registry's token for one of Azure. It follows no redirect.
func (a acr) exchange(ctx context.Context, host, token string) (string, error) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if a.client != nil {
		client.Transport = a.client.Transport
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return "", err
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, acrAnswerLimit)).Decode(&answer); err != nil || answer.RefreshToken == "" {
		return "", errors.New("its answer holds no token")
	}
	return answer.RefreshToken, nil
}
