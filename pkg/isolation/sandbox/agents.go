package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/guest"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/sentry"
)

// agents are the ssh agents of a process. Its own kernel has the sockets that it connects to; for each
// connection, the guest asks the builder for one to the agent (see guest.Agent).
type agents struct {
	sockets []string // of the host, by their numbers
	ours    *net.UnixConn
	theirs  *os.File // goes to the kernel; nil if there are no agents
}

// agent has an ssh mount served, and gives the path of its socket in the kernel.
func (r *run) agent(m *isolation.Mount) string {
	path := fmt.Sprintf("%s/agent%d", sentry.UpperDir, len(r.agents.sockets))
	r.agents.sockets = append(r.agents.sockets, m.HostSocket)
	r.spec.Agents = append(r.spec.Agents, guest.Agent{Path: path, UID: m.UID, GID: m.GID, Mode: uint32(m.Mode.Perm())})
	return path
}

// open makes the socket through which the guest asks.
func (a *agents) open() error {
	if len(a.sockets) == 0 {
		return nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	a.theirs = os.NewFile(uintptr(pair[1]), "agents")
	ours := os.NewFile(uintptr(pair[0]), "agents")
	c, err := net.FileConn(ours)
	if err := errors.Join(err, ours.Close()); err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	a.ours = c.(*net.UnixConn)
	go a.serve()
	return nil
}

// serve answers until the socket is closed, here or there.
func (a *agents) serve() {
	var number [1]byte
	for {
		if n, err := a.ours.Read(number[:]); n == 0 || err != nil {
			return
		}
		var rights []byte
		agent, err := a.connect(int(number[0]))
		if err == nil {
			rights = unix.UnixRights(int(agent.Fd()))
		}
		// An agent that cannot be reached is an answer without a descriptor.
		_, _, err = a.ours.WriteMsgUnix(number[:], rights, nil)
		if agent != nil {
			_ = agent.Close() // the kernel has one of its own
		}
		if err != nil {
			return
		}
	}
}

func (a *agents) connect(n int) (*os.File, error) {
	if n >= len(a.sockets) {
		return nil, fmt.Errorf("there is no agent %d", n)
	}
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: a.sockets[n]})
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // File gives a copy
	return c.File()
}

func (a *agents) close() error {
	if a.theirs == nil {
		return nil
	}
	err := a.theirs.Close()
	if a.ours != nil {
		err = errors.Join(err, a.ours.Close())
	}
	return err
}
