package secret_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/slipway-build/slipway/internal/testbase/forge"
	"github.com/slipway-build/slipway/pkg/secret"
)

// listen makes a socket, which nobody answers at.
func listen(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return socket
}

// writeFile writes a file into a directory of its own, and gives its path.
func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParseAgent(t *testing.T) {
	socket, key, other := listen(t), writeFile(t, nil), writeFile(t, nil)
	for _, c := range []struct {
		name, value, environment string
		want                     secret.AgentSpec
		wantError                string
	}{
		{"id alone", "a", socket, secret.AgentSpec{ID: "a", Socket: socket}, ""},
		{"socket", "a=" + socket, "", secret.AgentSpec{ID: "a", Socket: socket}, ""},
		{"key", "a=" + key, socket, secret.AgentSpec{ID: "a", Keys: []string{key}}, ""},
		{"keys", "a=" + key + "," + other, "", secret.AgentSpec{ID: "a", Keys: []string{key, other}}, ""},

		{"nothing", "a", "", secret.AgentSpec{}, "SSH_AUTH_SOCK is not set"},
		{"no id", "=" + socket, "", secret.AgentSpec{}, "no id"},
		{"nothing there", "a=/nonexistent", "", secret.AgentSpec{}, "no such file"},
		{"an empty path", "a=", "", secret.AgentSpec{}, "no such file"},
		{"key and socket", "a=" + key + "," + socket, "", secret.AgentSpec{}, "is the socket of an agent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", c.environment)
			got, err := secret.ParseAgent(c.value)
			if c.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Errorf("error is %v, want %q", err, c.wantError)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestKeyDir(t *testing.T) {
	key := forge.NewKey(t).PEM(t, "")
	const comment = "a key would begin with BEGIN PRIVATE KEY\n"
	for _, c := range []struct {
		name      string
		files     map[string]string
		want      []string
		wantError string
	}{
		{"empty", nil, nil, ""},
		{"Secret of the type ssh-auth", map[string]string{"ssh-privatekey": string(key)}, []string{"ssh-privatekey"}, ""},
		{
			"home directory", map[string]string{"config": comment, "id_a": string(key), "id_a.pub": "ssh-ed25519 AAAA", "id_b": string(key)},
			[]string{"id_a", "id_b"}, "",
		},
		{"no key", map[string]string{"known_hosts": "host ssh-ed25519 AAAA"}, nil, "is a private key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, ok, err := secret.KeyDir(dir)
			if c.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Errorf("error is %v, want %q", err, c.wantError)
				}
				return
			}
			want := secret.AgentSpec{ID: "default"}
			for _, name := range c.want {
				want.Keys = append(want.Keys, filepath.Join(dir, name))
			}
			if err != nil || ok != (c.want != nil) || !reflect.DeepEqual(s, want) {
				t.Errorf("got %+v, %t, %v; want %+v", s, ok, err, want)
			}
		})
	}
	if _, _, err := secret.KeyDir(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is missing: %v", err)
	}
}

// An agent that is made of keys signs with them, lets nobody change them, and ends with Close, whoever is
// connected.
func TestAgentOfKeys(t *testing.T) {
	pair := forge.NewKey(t)
	key, public, socket, dir := writeFile(t, pair.PEM(t, "")), pair.Public, listen(t), t.TempDir()
	a, err := secret.StartAgents([]secret.AgentSpec{{ID: "default", Keys: []string{key}}, {ID: "other", Socket: socket}}, func() (string, error) { return dir, nil })
	if err != nil {
		t.Fatal(err)
	}
	if a.Sockets["other"] != socket || filepath.Dir(a.Sockets["default"]) != dir {
		t.Errorf("the sockets are %v", a.Sockets)
	}
	conn, err := net.Dial("unix", a.Sockets["default"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Blob, public.Marshal()) {
		t.Fatalf("the agent has %v, %v", keys, err)
	}
	signature, err := client.Sign(public, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if err := public.Verify([]byte("text"), signature); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"add": client.Add(agent.AddedKey{PrivateKey: forge.NewKey(t).Private}), "remove": client.Remove(public), "remove all": client.RemoveAll(),
		"lock": client.Lock([]byte("x")), "unlock": client.Unlock([]byte("x")),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if keys, err := client.List(); err != nil || len(keys) != 1 {
		t.Errorf("afterwards the agent has %v, %v", keys, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.List(); err == nil {
		t.Error("the agent still answers after Close")
	}
	if _, err := net.Dial("unix", a.Sockets["default"]); err == nil {
		t.Error("the agent can still be connected to after Close")
	}
}

func TestStartAgentsErrors(t *testing.T) {
	pair := forge.NewKey(t)
	socket := listen(t)
	for want, specs := range map[string][]secret.AgentSpec{
		"given twice":               {{ID: "a", Socket: socket}, {ID: "a", Socket: socket}},
		"protected by a passphrase": {{ID: "a", Keys: []string{writeFile(t, pair.PEM(t, "passphrase"))}}},
		"nor a private key":         {{ID: "a", Keys: []string{writeFile(t, []byte("text"))}}},
		"no such file":              {{ID: "good", Keys: []string{writeFile(t, pair.PEM(t, ""))}}, {ID: "a", Keys: []string{"/nonexistent"}}},
	} {
		a, err := secret.StartAgents(specs, func() (string, error) { return t.TempDir(), nil })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `ssh agent "a"`) {
			t.Errorf("got %v, %v; want an error with %q", a, err, want)
		}
	}
}
