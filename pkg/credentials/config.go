package credentials

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// configuration is a Docker configuration: logins by scope, and the helpers that have more. It is a Source.
type configuration struct {
	name    string
	logins  map[string][]authn.AuthConfig // by scope
	helpers map[string]*helper            // by scope
	store   *helper                       // for all registries; nil for none
}

// parseConfiguration reads the text of a configuration. bare says that it is a .dockercfg: the logins without
// anything around.
func parseConfiguration(name string, text []byte, bare bool) (*configuration, error) {
	if bare {
		text = slices.Concat([]byte(`{"auths":`), text, []byte("}"))
	}
	file, err := config.LoadFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := &configuration{name: name, logins: map[string][]authn.AuthConfig{}, helpers: map[string]*helper{}}
	for _, key := range slices.Sorted(maps.Keys(file.AuthConfigs)) {
		a := file.AuthConfigs[key]
		a.ServerAddress = ""
		if a == (types.AuthConfig{}) { // as Docker leaves it when a store has the login
			continue
		}
		scope := scopeOf(key)
		c.logins[scope] = append(c.logins[scope], authn.AuthConfig{
			Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
		})
	}
	for key, program := range file.CredentialHelpers {
		if c.helpers[scopeOf(key)], err = newHelper(program); err != nil {
			return nil, err
		}
	}
	if file.CredentialsStore != "" {
		c.store, err = newHelper(file.CredentialsStore)
	}
	return c, err
}

// Candidates implements Source. Within a scope, helpers come before what is written down, as in Docker.
func (c *configuration) Candidates(repo name.Repository) []Candidate {
	var all []Candidate
	ask := func(h *helper, scope string) {
		if h != nil {
			all = append(all, Candidate{fmt.Sprintf("%s (%s for %s)", c.name, h.program, scope), h.login(server(scope))})
		}
	}
	for _, scope := range scopes(repo) {
		ask(c.helpers[scope], scope)
		if scope == hostOf(repo) {
			ask(c.store, scope)
		}
		for _, l := range c.logins[scope] {
			all = append(all, Fixed(fmt.Sprintf("%s (%s)", c.name, scope), l))
		}
	}
	return all
}

// server is how helpers are asked for a scope. Docker Hub has a name of its own among them.
func server(scope string) string {
	if scope == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return scope
}
