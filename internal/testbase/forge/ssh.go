package forge

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Key is a pair of keys.
type Key struct {
	Private ed25519.PrivateKey
	Public  ssh.PublicKey
}

// NewKey makes a pair of keys.
func NewKey(t *testing.T) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Private: private, Public: signer(t, private).PublicKey()}
}

// PEM is the private key as OpenSSH writes it; with a passphrase, unless that is empty.
func (k Key) PEM(t *testing.T, passphrase string) []byte {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(k.Private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(k.Private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func signer(t *testing.T, private ed25519.PrivateKey) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// SSH serves the forge's repositories over ssh to the user git with the client's key. It gives its address and the
// line of known_hosts that is its own.
func (f *Forge) SSH(t *testing.T, client ssh.PublicKey) (address, known string) {
	t.Helper()
	host := NewKey(t)
	conf := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || !bytes.Equal(k.Marshal(), client.Marshal()) {
			return nil, errors.New("not you")
		}
		return nil, nil
	}}
	conf.AddHostKey(signer(t, host.Private))
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
			go serveSSH(conn, conf, f.Root)
		}
	}()
	return l.Addr().String(), knownhosts.Line([]string{l.Addr().String()}, host.Public)
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
		go serveChannel(channel, requests, root)
	}
}

// serveChannel answers to the one command that clients of git begin.
func serveChannel(channel ssh.Channel, requests <-chan *ssh.Request, root string) {
	defer func() { _ = channel.Close() }() // the client may be gone
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		status := uint32(0)
		if uploadPack(channel, filepath.Join(root, strings.Trim(strings.TrimPrefix(string(r.Payload[4:]), "git-upload-pack "), "'"))) != nil {
			status = 1
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

func uploadPack(channel ssh.Channel, repository string) error {
	cmd := exec.Command("git", "-c", "safe.directory=*", "upload-pack", repository)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "HOME=/nonexistent",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(in, channel)
		_ = in.Close()
	}()
	return cmd.Run()
}
