package credentials

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	googleauth "golang.org/x/oauth2/google"
)

// isGoogle reports whether a host is of Google's Container Registry or Artifact Registry.
func isGoogle(host string) bool {
	return host == "gcr.io" || below(host, "gcr.io") || below(host, "pkg.dev")
}

// google takes Google's application default credentials: a key or a federated identity that GOOGLE_APPLICATION_CREDENTIALS
// names, or what the metadata server gives to the pod, which on GKE is its workload identity.
type google struct{ env func(string) string }

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

func (g google) login(ctx context.Context, _ string) (login, error) {
	found, err := googleauth.FindDefaultCredentials(ctx, googleScope)
	if err != nil {
		if g.env("GOOGLE_APPLICATION_CREDENTIALS") == "" {
			err = absent(err)
		}
		return login{}, err
	}
	token, err := found.TokenSource.Token()
	if err != nil {
		return login{}, err
	}
	return login{authn.AuthConfig{Username: "oauth2accesstoken", Password: token.AccessToken}, token.Expiry}, nil
}
