package inplace

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
)

var _ isolation.Checker = (*Backend)(nil)

// Check implements [isolation.Checker].
func (b *Backend) Check(p *isolation.Process) error {
	if err := host.Check(p); err != nil {
		return err
	}
	if err := b.checkPod(p); err != nil {
		return err
	}
	for i := range p.Mounts {
		if err := b.checkMount(&p.Mounts[i]); err != nil {
			return err
		}
	}
	return host.CheckCgroup(Name, p)
}

// checkPod refuses what is the pod's and cannot be another process's own.
func (b *Backend) checkPod(p *isolation.Process) error {
	switch {
	case p.Network == isolation.NetworkNone:
		return b.unsupported("RUN --network=none", "the process runs in the pod's own namespaces, and a network namespace cannot be made without them")
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

// checkMount refuses what takes a real mount.
func (b *Backend) checkMount(m *isolation.Mount) error {
	if m.Type == isolation.MountTmpfs && m.Size > 0 {
		return b.unsupported(fmt.Sprintf("a tmpfs mount with size=%d", m.Size), "nothing can be mounted, and a directory in its place has no size")
	}
	return nil
}
