package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// DefaultAgent is the id of the agent that a Dockerfile means where it names none.
const DefaultAgent = "default"

// AgentSpec is one --ssh: an agent that listens at a socket, or one that is to be made of keys.
type AgentSpec struct {
	ID     string
	Socket string
	// Keys are files of private keys; there are none if there is a Socket.
	Keys []string
}

// ParseAgent reads the value of --ssh, in the syntax of docker buildx: "ID" for the agent of SSH_AUTH_SOCK,
// "ID=SOCKET", or "ID=KEY[,KEY]" with files of private keys.
func ParseAgent(value string) (AgentSpec, error) {
	id, rest, ok := strings.Cut(value, "=")
	if id == "" {
		return AgentSpec{}, fmt.Errorf("ssh agent %q has no id", value)
	}
	paths := strings.Split(rest, ",")
	if !ok {
		paths = []string{os.Getenv("SSH_AUTH_SOCK")}
		if paths[0] == "" {
			return AgentSpec{}, fmt.Errorf("ssh agent %q: SSH_AUTH_SOCK is not set, and neither a socket nor a key is given", id)
		}
	}
	s := AgentSpec{ID: id}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return AgentSpec{}, fmt.Errorf("ssh agent %q: %w", id, err)
		case info.Mode().Type() != fs.ModeSocket:
			s.Keys = append(s.Keys, path)
		case len(paths) > 1:
			return AgentSpec{}, fmt.Errorf("ssh agent %q: %s is the socket of an agent, beside which there is nothing else", id, path)
		default:
			s.Socket = path
		}
	}
	return s, nil
}

// KeyDir makes the default agent of the private keys in a directory, as a mounted Kubernetes Secret or ~/.ssh
// has them: other files are passed over, unless there is nothing else. An empty directory has no agent, which
// ok tells.
func KeyDir(dir string) (s AgentSpec, ok bool, err error) {
	files, err := Dir(dir)
	if err != nil {
		return AgentSpec{}, false, err
	}
	s.ID = DefaultAgent
	for _, f := range files {
		data, err := f.load()
		if err != nil {
			return AgentSpec{}, false, fmt.Errorf("ssh keys: %w", err)
		}
		if bytes.Contains(data, []byte(" PRIVATE KEY-----")) {
			s.Keys = append(s.Keys, f.File)
		}
	}
	if len(files) > 0 && len(s.Keys) == 0 {
		return AgentSpec{}, false, fmt.Errorf("ssh keys: no file in %s is a private key", dir)
	}
	return s, len(s.Keys) > 0, nil
}

// Agents are the ssh agents of a build; those that were made of keys run until Close.
type Agents struct {
	// Sockets gives the socket of each agent by its id.
	Sockets map[string]string

	served []*servedAgent
}

// StartAgents makes agents of those that are given by their keys. Their sockets lie below directories that dir makes,
// which nobody else may enter. An agent or key that cannot be had is an error here, before the build starts.
func StartAgents(specs []AgentSpec, dir func() (string, error)) (_ *Agents, err error) {
	a := &Agents{Sockets: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, s := range specs {
		if _, twice := a.Sockets[s.ID]; twice {
			return nil, fmt.Errorf("ssh agent %q is given twice", s.ID)
		}
		a.Sockets[s.ID] = s.Socket
		if s.Socket != "" {
			continue
		}
		keys, err := keyring(s.Keys)
		if err != nil {
			return nil, fmt.Errorf("ssh agent %q: %w", s.ID, err)
		}
		if a.Sockets[s.ID], err = a.serve(keys, dir); err != nil {
			return nil, fmt.Errorf("ssh agent %q: %w", s.ID, err)
		}
	}
	return a, nil
}

// keyring is an agent with the keys in files.
func keyring(files []string) (agent.ExtendedAgent, error) {
	ring, ok := agent.NewKeyring().(agent.ExtendedAgent)
	if !ok {
		return nil, errors.New("the keyring cannot choose the hash of a signature")
	}
	for _, file := range files {
		data, err := Spec{File: file}.load()
		if err != nil {
			return nil, err
		}
		key, err := ssh.ParseRawPrivateKey(data)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return nil, fmt.Errorf("the key %s is protected by a passphrase: load it into an ssh-agent, and give that one's socket", file)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is neither the socket of an agent nor a private key: %w", file, err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: filepath.Base(file)}); err != nil {
			return nil, fmt.Errorf("key %s: %w", file, err)
		}
	}
	return ring, nil
}

func (a *Agents) serve(keys agent.ExtendedAgent, dir func() (string, error)) (socket string, err error) {
	d, err := dir()
	if err != nil {
		return "", err
	}
	socket = filepath.Join(d, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return "", fmt.Errorf("making its socket, whose path may have 107 bytes: %w", err)
	}
	s := &servedAgent{keys: readOnly{keys}, listener: l}
	s.serving.Go(s.accept)
	a.served = append(a.served, s)
	return socket, nil
}

// Close ends the agents that were made of keys.
func (a *Agents) Close() error {
	var errs []error
	for _, s := range a.served {
		errs = append(errs, s.close())
	}
	a.served = nil
	return errors.Join(errs...)
}

// servedAgent answers for keys at a socket.
type servedAgent struct {
	keys     agent.Agent
	listener net.Listener
	serving  sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

func (s *servedAgent) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		if s.keep(c) {
			s.serving.Go(func() {
				// Its error says how the other side ended the connection.
				_ = agent.ServeAgent(s.keys, c)
				s.drop(c)
			})
		}
	}
}

// keep remembers a connection for close; one that comes too late is closed at once.
func (s *servedAgent) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns = append(s.conns, c)
	return true
}

func (s *servedAgent) drop(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = slices.DeleteFunc(s.conns, func(o net.Conn) bool { return o == c })
	_ = c.Close()
}

func (s *servedAgent) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

var errReadOnly = errors.New("the keys of this agent cannot be changed")

// readOnly is an agent that all RUNs share, so that none of them may change it.
type readOnly struct{ agent.ExtendedAgent }

func (readOnly) Add(agent.AddedKey) error   { return errReadOnly }
func (readOnly) Remove(ssh.PublicKey) error { return errReadOnly }
func (readOnly) RemoveAll() error           { return errReadOnly }
func (readOnly) Lock([]byte) error          { return errReadOnly }
func (readOnly) Unlock([]byte) error        { return errReadOnly }
