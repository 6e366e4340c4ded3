// Package secretsprovider stands in for BuildKit's package of that name, with providers that say which
// secrets they have.
package secretsprovider

import (
	"github.com/moby/buildkit/session"
	real "github.com/moby/buildkit/session/secrets/secretsprovider"
)

// Provider is BuildKit's provider together with what it was made of.
type Provider struct {
	session.Attachable
	Secrets map[string][]byte
}

// FromMap gives a provider of the secrets in m, by id.
func FromMap(m map[string][]byte) session.Attachable {
	return &Provider{Attachable: real.FromMap(m), Secrets: m}
}
