// Package sshprovider stands in for BuildKit's package of that name, with providers that say which
// agents and keys they were made of.
package sshprovider

import (
	"github.com/moby/buildkit/session"
	real "github.com/moby/buildkit/session/sshforward/sshprovider"
)

// AgentConfig is BuildKit's.
type AgentConfig = real.AgentConfig

// Provider is BuildKit's provider together with what it was made of.
type Provider struct {
	session.Attachable
	Agents []AgentConfig
}

// NewSSHAgentProvider is like BuildKit's, and has its errors.
func NewSSHAgentProvider(agents []AgentConfig) (session.Attachable, error) {
	p, err := real.NewSSHAgentProvider(agents)
	if err != nil {
		return nil, err
	}
	return &Provider{Attachable: p, Agents: agents}, nil
}
