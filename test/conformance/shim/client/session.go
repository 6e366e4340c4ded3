package client

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/session"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

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
			if err := i.addAgent(a); err != nil {
				return err
			}
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

// addAgent gives slipway the socket of an agent: the one that there is, or that of an agent with the keys.
func (i *invocation) addAgent(a sshprovider.AgentConfig) error {
	id := a.ID
	if id == "" {
		id = "default"
	}
	keys := agent.NewKeyring()
	for _, path := range a.Paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSocket != 0 {
			i.flag("ssh", id+"="+path)
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		key, err := ssh.ParseRawPrivateKey(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return err
		}
	}
	socket := filepath.Join(os.TempDir(), "agent-"+rand.Text())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	i.closers = append(i.closers, func() { listener.Close() })
	go serveAgent(listener, keys)
	i.flag("ssh", id+"="+socket)
	return nil
}

// serveAgent answers until the listener is closed.
func serveAgent(listener net.Listener, keys agent.Agent) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		go func() {
			defer conn.Close()
			// The error is that of a client that is gone: nobody is left to be told.
			_ = agent.ServeAgent(keys, conn)
		}()
	}
}
