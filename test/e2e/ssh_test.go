package e2e

import (
	"net"
	"path/filepath"
	"testing"
)

// The agents of --ssh are sockets in the RUNs that mount them, with their owner and mode, and
// nowhere else.
func TestSSHMounts(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	context := write(t, map[string]string{"Dockerfile": `ARG BASE
FROM $BASE
RUN --mount=type=ssh,required [ -S "$SSH_AUTH_SOCK" ] && [ "$(stat -c %a:%u:%g "$SSH_AUTH_SOCK")" = 600:0:0 ]
RUN --mount=type=ssh,id=other,required,target=/agent,uid=12,gid=13,mode=0640 [ "$(stat -c %a:%u:%g /agent)" = 640:12:13 ] && [ "$SSH_AUTH_SOCK" = /agent ]
RUN --mount=type=ssh,id=missing [ ! -e /run/buildkit/ssh_agent.0 ]
RUN [ -z "$SSH_AUTH_SOCK" ] && [ ! -e /agent ] && [ ! -e /run/buildkit ]
`})
	mustSlipway(t, dir, "build", "--build-arg", "BASE="+base, "--insecure-registry", host, "--no-push",
		"--ssh", "default="+socket, "--ssh", "other="+socket, context)
}
