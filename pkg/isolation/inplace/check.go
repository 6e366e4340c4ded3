package inplace

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

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
	if err := b.checkPod(p); err != nil {
		return err
	}
	for i := range p.Mounts {
		if err := b.checkMount(&p.Mounts[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkPod refuses what is the pod's and cannot be another process's own.
func (b *Backend) checkPod(p *isolation.Process) error {
	switch {
	case p.Network == isolation.NetworkNone:
		return b.unsupported("RUN --network=none", "the process runs in the pod's own namespaces, and a network namespace cannot be made without them")
	case p.Network > isolation.NetworkNone:
		return fmt.Errorf("isolation: unknown network %d", p.Network)
	case p.CgroupParent != "", p.Resources != nil && *p.Resources != (isolation.Resources{}):
		return b.unsupported("limiting memory or processors of RUN", "the pod's cgroups are the cluster's to set: set resources.limits of the pod instead")
	}
	if p.Hostname != "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("isolation: %w", err)
		}
		if p.Hostname != name {
			return b.unsupported("the host name "+p.Hostname, "the process has the pod's host name, "+name)
		}
	}
	if p.ShmSize != 0 {
		var fs unix.Statfs_t
		err := unix.Statfs(b.root+"/dev/shm", &fs)
		if size := int64(fs.Blocks) * fs.Bsize; err != nil || size != p.ShmSize {
			return b.unsupported(fmt.Sprintf("--shm-size=%d", p.ShmSize), fmt.Sprintf("/dev/shm is the pod's, with %d bytes", size))
		}
	}
	return nil
}

func (b *Backend) checkMount(m *isolation.Mount) error {
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
		return fmt.Errorf("isolation: mount target %q is not an absolute path below /", m.Target)
	}
	switch m.Type {
	case isolation.MountBind, isolation.MountSecret:
	case isolation.MountTmpfs:
		if m.Size > 0 {
			return b.unsupported(fmt.Sprintf("a tmpfs mount with size=%d", m.Size), "nothing can be mounted, and a directory in its place has no size")
		}
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
		if r.Hard > now.Max && !b.caps.Has(unix.CAP_SYS_RESOURCE) {
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
