package git_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/slipway-build/slipway/pkg/op"
)

// sshForge serves the repositories below root over ssh to whoever has the client key. It gives
// its address and the line of known_hosts that is its own.
func sshForge(t *testing.T, root string, client ssh.PublicKey) (address, known string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	conf := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || !bytes.Equal(k.Marshal(), client.Marshal()) {
			return nil, errors.New("not you")
		}
		return nil, nil
	}}
	conf.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(conn, conf, root)
		}
	}()
	return l.Addr().String(), knownhosts.Line([]string{l.Addr().String()}, signer.PublicKey())
}

func serveSSH(conn net.Conn, conf *ssh.ServerConfig, root string) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, conf)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			defer channel.Close()
			for r := range requests {
				if r.Type != "exec" {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				name := strings.Trim(strings.TrimPrefix(string(r.Payload[4:]), "git-upload-pack "), "'")
				cmd := exec.Command("git", "-c", "safe.directory=*", "upload-pack", filepath.Join(root, name))
				cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "HOME=/nonexistent", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
				cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
				in, err := cmd.StdinPipe()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(in, channel)
					_ = in.Close()
				}()
				status := uint32(0)
				if cmd.Run() != nil {
					status = 1
				}
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
				return
			}
		}()
	}
}

// startAgent gives the socket of an agent with one key, and the key's public half.
func startAgent(t *testing.T) (socket string, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(ring, conn)
				conn.Close()
			}()
		}
	}()
	return socket, signer.PublicKey()
}

func TestSSH(t *testing.T) {
	f := newForge(t)
	r := f.repo(t, "r.git")
	r.commit(map[string]string{"f": "1"})
	r.commit(map[string]string{"f": "2"})
	socket, public := startAgent(t)
	stranger, _ := startAgent(t)
	address, known := sshForge(t, f.root, public)
	_, otherKey := sshForge(t, f.root, public)
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
