package namespace

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// maxHostname is the kernel's limit for a host name (__NEW_UTS_LEN), in bytes.
const maxHostname = 64

// check refuses what cannot be honored, before anything is made.
func (b *Backend) check(p *isolation.Process) error {
	if len(p.Args) == 0 {
		return errors.New("isolation: no command to run")
	}
	for _, s := range append(append([]string{p.Cwd}, p.Args...), p.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("isolation: %q contains a zero byte", s)
		}
	}
	if !path.IsAbs(p.Cwd) {
		return fmt.Errorf("isolation: working directory %q is not absolute", p.Cwd)
	}
	if len(p.Hostname) > maxHostname {
		return fmt.Errorf("isolation: host name %q is longer than %d bytes", p.Hostname, maxHostname)
	}
	if p.Network > isolation.NetworkNone {
		return fmt.Errorf("isolation: unknown network %d", p.Network)
	}
	if err := b.checkUser(p); err != nil {
		return err
	}
	if err := b.checkCgroup(p); err != nil {
		return err
	}
	for i := range p.Mounts {
		if err := checkMount(&p.Mounts[i]); err != nil {
			return err
		}
	}
	return nil
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

func (b *Backend) checkCgroup(p *isolation.Process) error {
	const reason = "the pod's cgroups are the cluster's to set, and are not writable here: set resources.limits of the pod instead"
	if p.CgroupParent != "" {
		return b.unsupported("--cgroup-parent", reason)
	}
	if p.Resources != nil && *p.Resources != (isolation.Resources{}) {
		return b.unsupported("limiting memory or processors of RUN", reason)
	}
	return nil
}

func checkMount(m *isolation.Mount) error {
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
		return fmt.Errorf("isolation: mount target %q is not an absolute path below /", m.Target)
	}
	switch m.Type {
	case isolation.MountBind, isolation.MountTmpfs, isolation.MountSecret:
	case isolation.MountCache:
		if m.HostDir == "" {
			return fmt.Errorf("isolation: cache mount %s has no directory", m.Target)
		}
	case isolation.MountSSH:
		if m.HostSocket == "" {
			return fmt.Errorf("isolation: ssh mount %s has no socket", m.Target)
		}
	default:
		return fmt.Errorf("isolation: mount %s is of unknown type %d", m.Target, m.Type)
	}
	return nil
}

// rlimits translates limits, refusing those that only the node's administrator could set.
func (b *Backend) rlimits(limits []isolation.Ulimit) ([]supervisor.Rlimit, error) {
	var out []supervisor.Rlimit
	for _, u := range limits {
		resource, ok := resources()[u.Name]
		if !ok {
			return nil, fmt.Errorf("isolation: unknown limit --ulimit %s", u.Name)
		}
		r := supervisor.Rlimit{Resource: resource, Soft: limitValue(u.Soft), Hard: limitValue(u.Hard)}
		if r.Soft > r.Hard {
			return nil, fmt.Errorf("isolation: --ulimit %s=%d:%d: the soft limit is above the hard one", u.Name, u.Soft, u.Hard)
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return nil, fmt.Errorf("isolation: --ulimit %s: %w", u.Name, err)
		}
		if r.Hard > now.Max && (b.mode.userNamespace || !b.mode.capabilities.Has(unix.CAP_SYS_RESOURCE)) {
			return nil, b.unsupported(fmt.Sprintf("--ulimit %s=%d:%d", u.Name, u.Soft, u.Hard),
				fmt.Sprintf("the pod's own limit is %d, and raising it takes CAP_SYS_RESOURCE", now.Max))
		}
		out = append(out, r)
	}
	return out, nil
}

func limitValue(v int64) uint64 {
	if v < 0 {
		return unix.RLIM_INFINITY
	}
	return uint64(v)
}

// resources are the names of setrlimit(2) without RLIMIT_.
func resources() map[string]int {
	return map[string]int{
		"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
		"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
		"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
		"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}
}

func (b *Backend) unsupported(what, reason string) error {
	return &isolation.UnsupportedError{Backend: Name, What: what, Reason: reason}
}
