package namespace

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
)

// mode is how namespaces work in this pod.
type mode struct {
	userNamespace bool // because CAP_SYS_ADMIN is missing
	freshProc     bool // a PID namespace with its own /proc
	xattrs        overlay.Xattrs
	noDevices     bool // CAP_MKNOD is missing, or is not meant for this user namespace

	capabilities isolation.Capabilities // those of this process
	uids, gids   []syscall.SysProcIDMap
}

// inspect finds out what this process is, as far as that needs no trying.
func inspect(dir string) (mode, error) {
	m := mode{freshProc: true, xattrs: overlay.User}
	var err error
	if m.capabilities, err = host.Capabilities(); err != nil {
		return m, err
	}
	m.userNamespace = !m.capabilities.Has(unix.CAP_SYS_ADMIN)
	if m.noDevices, err = lacksDevices(dir); err != nil {
		return m, err
	}
	if m.uids, err = identityMap("/proc/self/uid_map"); err != nil {
		return m, err
	}
	m.gids, err = identityMap("/proc/self/gid_map")
	return m, err
}

// lacksDevices tries to make a device.
func lacksDevices(dir string) (bool, error) {
	path := dir + "/device"
	err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	if err == unix.EPERM {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("isolation: making a device: %w", err)
	}
	return false, os.Remove(path)
}

// identityMap reads a map of the kind of /proc/PID/uid_map (user_namespaces(7)) and returns the
// one that gives a child namespace every id of this one, unchanged.
func identityMap(path string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	var ids []syscall.SysProcIDMap
	for line := range strings.Lines(string(data)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("isolation: %s: line %q: %w", path, strings.TrimSpace(line), err)
		}
		ids = append(ids, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return ids, nil
}

// maps reports whether an id exists in a map.
func maps(ids []syscall.SysProcIDMap, id uint32) bool {
	for _, m := range ids {
		if int(id) >= m.ContainerID && int(id)-m.ContainerID < m.Size {
			return true
		}
	}
	return false
}
