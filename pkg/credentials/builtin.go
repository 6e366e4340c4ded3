package credentials

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
)

// HelperNames are the built-in helpers in the order in which they are asked.
func HelperNames() []string { return []string{"env", "google", "ecr", "acr", "gitlab", "github"} }

// builtin are the helpers with the given names, all for nil.
func builtin(names []string, env func(string) string) (Sources, error) {
	known := map[string]Source{
		"env":    environment{env},
		"google": newAmbient("google", isGoogle, google{env}.login),
		"ecr":    newAmbient("ecr", isECR(env), ecrLogin),
		"acr":    newAmbient("acr", isACR, acr{}.login),
		"gitlab": gitlab{env},
		"github": github{env},
	}
	for _, n := range names {
		if known[n] == nil {
			return nil, fmt.Errorf("there is no credential helper %q; there are %s", n, strings.Join(HelperNames(), ", "))
		}
	}
	var all Sources
	for _, n := range HelperNames() {
		if names == nil || slices.Contains(names, n) {
			all = append(all, known[n])
		}
	}
	return all, nil
}

// ambient is a Source for the registries of one cloud. Its logins are what the pod's or the node's identity in
// the cloud is exchanged for.
type ambient struct {
	name string
	owns func(host string) bool
	get  func(ctx context.Context, host string) (login, error)

	logins sync.Map // *renewed by host
}

func newAmbient(name string, owns func(string) bool, get func(context.Context, string) (login, error)) *ambient {
	return &ambient{name: name, owns: owns, get: get}
}

// Candidates implements Source.
func (c *ambient) Candidates(repo name.Repository) []Candidate {
	host := hostOf(repo)
	if !c.owns(host) {
		return nil
	}
	r, _ := c.logins.LoadOrStore(host, &renewed{get: func(ctx context.Context) (login, error) { return c.get(ctx, host) }})
	return []Candidate{{c.name, r.(*renewed)}}
}
