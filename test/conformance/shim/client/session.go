package client

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/session"

	"github.com/slipway-build/slipway/pkg/secret"
	"github.com/slipway-build/slipway/test/conformance/shim/secretsprovider"
	"github.com/slipway-build/slipway/test/conformance/shim/sshprovider"
	"github.com/slipway-build/slipway/test/conformance/shim/uploadprovider"
)

func (i *invocation) translateAttachable(s session.Attachable) error {
	switch s := s.(type) {
	case *secretsprovider.Provider:
		return i.addSecrets(s.Secrets)
	case *sshprovider.Provider:
		for _, a := range s.Agents {
			i.addAgent(a)
		}
		return nil
	case *uploadprovider.Uploader:
		return nil
	}
	return unsupported(fmt.Sprintf("a session's %T", s))
}

func (i *invocation) addSecrets(secrets map[string][]byte) error {
	for id, value := range secrets {
		path := filepath.Join(i.dir, "secret-"+hex.EncodeToString([]byte(id)))
		if err := os.WriteFile(path, value, 0o600); err != nil {
			return err
		}
		i.flag("secret", "id="+id+",src="+path)
	}
	return nil
}

// addAgent gives slipway the socket of an agent, or keys.
func (i *invocation) addAgent(a sshprovider.AgentConfig) {
	id := a.ID
	if id == "" {
		id = secret.DefaultAgent
	}
	if len(a.Paths) > 0 {
		id += "=" + strings.Join(a.Paths, ",")
	}
	i.flag("ssh", id)
}
