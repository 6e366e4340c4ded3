package git_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/slipway-build/slipway/internal/testbase/forge"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/secret"
)

// startAgent gives the socket of an agent with one key, and the key's public half.
func startAgent(t *testing.T) (socket string, public ssh.PublicKey) {
	t.Helper()
	key, dir := forge.NewKey(t), t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, key.PEM(t, ""), 0o600); err != nil {
		t.Fatal(err)
	}
	agents, err := secret.StartAgents([]secret.AgentSpec{{ID: "a", Keys: []string{file}}}, func() (string, error) { return dir, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agents.Close(); err != nil {
			t.Error(err)
		}
	})
	return agents.Sockets["a"], key.Public
}

func TestSSH(t *testing.T) {
	f := forge.New(t)
	r := f.Repository(t, "r.git")
	r.Commit(map[string]string{"f": "1"})
	r.Commit(map[string]string{"f": "2"})
	socket, public := startAgent(t)
	stranger, _ := startAgent(t)
	address, known := f.SSH(t, public)
	_, otherKey := f.SSH(t, public)
	wrong := strings.Replace(otherKey, strings.Fields(otherKey)[0], strings.Fields(known)[0], 1)

	for name, tt := range map[string]struct {
		known, agent, user string
		message            string
	}{
		"works":            {known, "default", "git@", ""},
		"without a user":   {known, "default", "", ""},
		"wrong host key":   {wrong, "default", "git@", "key mismatch"},
		"unknown host":     {otherKey, "default", "git@", "key is unknown"},
		"no host keys":     {"", "default", "git@", "is not known"},
		"no agent":         {known, "mine", "git@", "add --ssh mine"},
		"wrong key":        {known, "stranger", "git@", "unable to authenticate"},
		"agent that ended": {known, "gone", "git@", `ssh agent "gone"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, t.TempDir(), nil, map[string]string{"default": socket, "stranger": stranger, "gone": socket + "x"})
			g := &op.Git{URL: "ssh://" + tt.user + address + "/r.git", KnownHosts: tt.known, Agent: tt.agent}
			l, err := c.Layer(t.Context(), g, age, nil)
			if tt.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantContent(t, content(t, l), map[string]string{"f": "2"})
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v", err)
			}
		})
	}
}
