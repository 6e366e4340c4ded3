package guest

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Agent is a socket at which the command finds an ssh agent of the host. No socket of the host can be shown
// in this kernel, but connections can be passed on to it.
type Agent struct {
	Path     string
	UID, GID uint32
	Mode     uint32
}

// AgentsFD is the socket through which the builder is asked for a connection to an agent, by the agent's number in one
// byte. It answers with a byte, and the connection as SCM_RIGHTS (unix(7)); without, it has none.
const AgentsFD = 6

// exchange takes one question at a time.
type exchange struct{ mu sync.Mutex }

// connect asks for a connection to the n-th agent.
func (x *exchange) connect(n int) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, err := unix.Write(AgentsFD, []byte{byte(n)}); err != nil {
		return -1, err
	}
	answer, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(AgentsFD, answer, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil {
		return -1, err
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("the agent cannot be reached")
}

// serveAgents makes the sockets, and answers at them until this process ends.
func serveAgents(agents []Agent) error {
	var x exchange
	for n := range agents {
		fd, err := agents[n].listen()
		if err != nil {
			return fmt.Errorf("%s: %w", agents[n].Path, err)
		}
		go func() {
			for {
				client, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				if err == nil {
					go x.pass(client, n)
				} else if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) {
					return
				}
			}
		}()
	}
	return nil
}

func (a *Agent) listen() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: a.Path}); err != nil {
		return -1, err
	}
	if err := unix.Chown(a.Path, int(a.UID), int(a.GID)); err != nil {
		return -1, err
	}
	if err := unix.Chmod(a.Path, a.Mode); err != nil {
		return -1, err
	}
	return fd, unix.Listen(fd, unix.SOMAXCONN)
}

// pass passes bytes on between a client and the n-th agent. To the client, an agent that cannot be reached is a closed
// connection, as one that has gone away is.
func (x *exchange) pass(client, n int) {
	defer unix.Close(client)
	agent, err := x.connect(n)
	if err != nil {
		return
	}
	defer unix.Close(agent)
	var asking sync.WaitGroup
	asking.Go(func() { pipe(agent, client) })
	pipe(client, agent)
	_ = unix.Shutdown(client, unix.SHUT_RD) // ends the other direction, too
	asking.Wait()
}

// pipe passes on what comes from one socket, and its end, to another. An error is an end.
func pipe(to, from int) {
	defer func() { _ = unix.Shutdown(to, unix.SHUT_WR) }()
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Read(from, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for sent := 0; sent < n; {
			w, err := unix.Write(to, buf[sent:n])
			if err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
			sent += max(w, 0)
		}
	}
}
