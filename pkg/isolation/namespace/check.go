package namespace

import (
	"fmt"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
)

// maxHostname is the kernel's limit for a host name (__NEW_UTS_LEN), in bytes.
const maxHostname = 64

var _ isolation.Checker = (*Backend)(nil)

// Check implements [isolation.Checker].
func (b *Backend) Check(p *isolation.Process) error {
	if err := host.Check(p); err != nil {
		return err
	}
	if len(p.Hostname) > maxHostname {
		return fmt.Errorf("isolation: host name %q is longer than %d bytes", p.Hostname, maxHostname)
	}
	if err := b.checkUser(p); err != nil {
		return err
	}
	return host.CheckCgroup(Name, p)
}

func (b *Backend) checkUser(p *isolation.Process) error {
	for _, gid := range append([]uint32{p.User.GID}, p.User.Groups...) {
		if !maps(b.mode.gids, gid) {
			return b.unsupported(fmt.Sprintf("RUN with group %d", gid), "the pod's user namespace has no such group")
		}
	}
	if !maps(b.mode.uids, p.User.UID) {
		return b.unsupported(fmt.Sprintf("RUN with user %d", p.User.UID), "the pod's user namespace has no such user")
	}
	return nil
}

func (b *Backend) unsupported(what, reason string) error {
	return &isolation.UnsupportedError{Backend: Name, What: what, Reason: reason}
}
