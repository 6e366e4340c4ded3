// Package host holds what isolation backends do on the builder's side of a RUN, whichever way they
// isolate it.
package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Agents pass connections on to ssh agents of the host, through sockets with the owner and mode
// that the process asked for: those of the host's own sockets are not ours to change.
type Agents struct {
	listeners []*net.UnixListener
	serving   sync.WaitGroup
}

// Serve makes a socket in the directory dir and returns its path.
func (a *Agents) Serve(dir string, m *isolation.Mount) (string, error) {
	name := "a" + strconv.Itoa(len(a.listeners))
	l, err := listen(dir, name)
	if err != nil {
		return "", fmt.Errorf("isolation: ssh mount %s: %w", m.Target, err)
	}
	a.listeners = append(a.listeners, l)
	path := dir + "/" + name
	if err := os.Chown(path, int(m.UID), int(m.GID)); err != nil {
		return "", fmt.Errorf("isolation: ssh mount %s: %w", m.Target, err)
	}
	if err := os.Chmod(path, m.Mode.Perm()); err != nil {
		return "", fmt.Errorf("isolation: ssh mount %s: %w", m.Target, err)
	}
	a.serving.Go(func() { a.accept(l, m.HostSocket) })
	return path, nil
}

// listen listens at dir/name, which may be longer than the 107 bytes of a socket's address.
func listen(dir, name string) (*net.UnixListener, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by then the descriptor is another one
	return l, nil
}

func (a *Agents) accept(l *net.UnixListener, socket string) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return // closed
		}
		a.serving.Go(func() { relay(c, socket) })
	}
}

// relay passes bytes on in both directions. An agent that cannot be reached shows as a
// closed connection, as one that has gone away does.
func relay(c *net.UnixConn, socket string) {
	defer func() { _ = c.Close() }()
	agent, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: socket})
	if err != nil {
		return
	}
	defer func() { _ = agent.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(agent, c)
		_ = agent.CloseWrite()
	}()
	_, _ = io.Copy(c, agent)
	_ = c.Close() // ends the other direction, too
	<-done
}

// Close stops taking connections; those that were made go on until either side ends them.
func (a *Agents) Close() error {
	var errs []error
	for _, l := range a.listeners {
		errs = append(errs, l.Close())
	}
	a.listeners = nil
	return errors.Join(errs...)
}
