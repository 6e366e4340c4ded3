package credentials

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// environment is the helper "env": SLIPWAY_<HOST>_USER and SLIPWAY_<HOST>_PASSWORD, or KANIKO_ instead of SLIPWAY_. <HOST> is
// the registry's host in upper case with underscores for everything that a variable's name cannot have: R_EXAMPLE_COM; or
// the end of it, from a dot on.
type environment struct{ env func(string) string }

// Candidates implements Source. The longest name is the first.
func (e environment) Candidates(repo name.Repository) []Candidate {
	var all []Candidate
	for _, host := range suffixes(hostOf(repo)) {
		for _, prefix := range []string{"SLIPWAY_", "KANIKO_"} {
			for _, stem := range variables(prefix, host) {
				user, password := e.env(stem+"_USER"), e.env(stem+"_PASSWORD")
				if user != "" && password != "" {
					all = append(all, Fixed("$"+stem+"_USER", authn.AuthConfig{Username: user, Password: password}))
				}
			}
		}
	}
	return all
}

// suffixes are a host and the domains that it is in, but for the top-level one, which belongs to nobody.
func suffixes(host string) []string {
	all := []string{host}
	for {
		_, rest, ok := strings.Cut(host, ".")
		if !ok || !strings.Contains(rest, ".") {
			return all
		}
		host = rest
		all = append(all, host)
	}
}

// variables are the names for a host. Kaniko leaves the colon before a port.
func variables(prefix, host string) []string {
	stem := prefix + strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToUpper(host))
	if plain := strings.ReplaceAll(stem, ":", "_"); plain != stem {
		return []string{plain, stem}
	}
	return []string{stem}
}
