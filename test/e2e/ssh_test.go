package e2e

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/forge"
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

// Private keys serve where an agent does: the build context is a repository that only they open, and RUN gets
// an agent with them.
func TestSSHKeys(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	f, key := forge.New(t), forge.NewKey(t)
	f.Repository(t, "r.git").Commit(map[string]string{"Dockerfile": `ARG BASE
FROM $BASE
COPY Dockerfile /
RUN --mount=type=ssh,required [ -S "$SSH_AUTH_SOCK" ]
`})
	address, _ := f.SSH(t, key.Public)
	keys := write(t, map[string]string{"ssh-privatekey": string(key.PEM(t, "")), "known_hosts": "text\n"})
	stranger := filepath.Join(write(t, map[string]string{"key": string(forge.NewKey(t).PEM(t, ""))}), "key")
	args := slices.Clip([]string{"build", "--build-arg", "BASE=" + base, "--insecure-registry", host, "--no-push", "ssh://git@" + address + "/r.git"})
	for name, flags := range map[string][]string{
		"file":           {"--ssh", "default=" + filepath.Join(keys, "ssh-privatekey")},
		"files":          {"--ssh", "default=" + stranger + "," + filepath.Join(keys, "ssh-privatekey")},
		"directory":      {"--ssh-dir", keys},
		"other id first": {"--ssh", "other=" + stranger, "--ssh-dir", keys},
	} {
		t.Run(name, func(t *testing.T) { mustSlipway(t, t.TempDir(), append(args, flags...)...) })
	}
	for name, c := range map[string]struct {
		flags []string
		want  string
	}{
		"no key":                {nil, "add --ssh default"},
		"wrong key":             {[]string{"--ssh", "default=" + stranger}, "unable to authenticate"},
		"the flag comes before": {[]string{"--ssh", "default=" + stranger, "--ssh-dir", keys}, "unable to authenticate"},
		"no key file":           {[]string{"--ssh", "default=" + filepath.Join(keys, "known_hosts")}, "nor a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			if o := slipway(t, t.TempDir(), append(args, c.flags...)...); o.code == 0 || !strings.Contains(o.stderr, c.want) {
				t.Errorf("exit code %d\n%s", o.code, o.stderr)
			}
		})
	}
}
