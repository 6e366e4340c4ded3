package initproc

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
)

// mountProc shows a /proc: a new one where there is a PID namespace of our own, else the
// pod's with everything that is mounted in it.
func (s *session) mountProc() error {
	var proc int
	var err error
	if s.spec.FreshProc {
		proc, err = newMount("proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	} else {
		proc, err = cloneMount(unix.AT_FDCWD, "/proc", true)
	}
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	if err := s.attachAt(proc, "/proc"); err != nil {
		return err
	}
	if s.spec.Unmasked {
		return nil
	}
	if err := s.mask("/proc", maskedProc()); err != nil {
		return err
	}
	return s.freeze("/proc", readonlyProc())
}

// mountSys shows the pod's /sys, read-only; with a network namespace of our own a new one, whose
// /sys/class/net lists the interfaces of that namespace. Where the kernel refuses it, because
// the pod masks parts of its /sys, the pod's has to do.
func (s *session) mountSys() error {
	sys, err := -1, error(nil)
	if s.spec.Loopback {
		sys, err = newMount("sysfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	}
	if sys < 0 {
		sys, err = cloneMount(unix.AT_FDCWD, "/sys", true)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(sys)
	if !s.spec.Unmasked {
		if err := restrict(sys, unix.MOUNT_ATTR_RDONLY, true); err != nil {
			return err
		}
	}
	if err := s.attachAt(sys, "/sys"); err != nil || s.spec.Unmasked {
		return err
	}
	return s.mask("/sys", []string{"firmware", "devices/virtual/powercap"})
}

// maskedProc and readonlyProc are what Docker hides and protects of /proc: a process whose user 0
// is the host's could change the host through it, user namespace or not.
func maskedProc() []string {
	return []string{
		"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats",
		"sched_debug", "scsi", "timer_list", "timer_stats",
	}
}

func readonlyProc() []string {
	return []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
}

// mask hides what is at names below dir, where it exists.
func (s *session) mask(dir string, names []string) error {
	return s.eachExisting(dir, names, func(target int) (int, error) {
		if rootpath.CheckKind(target, true) == nil {
			return newMount("tmpfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC,
				option{"mode", "0555"}, option{"nr_blocks", "1"}, option{"nr_inodes", "1"})
		}
		return cloneMount(unix.AT_FDCWD, "/dev/null", false)
	})
}

// freeze makes what is at names below dir read-only, where it exists.
func (s *session) freeze(dir string, names []string) error {
	return s.eachExisting(dir, names, func(target int) (int, error) {
		m, err := cloneMount(target, "", true)
		if err != nil {
			return -1, err
		}
		return m, restrict(m, unix.MOUNT_ATTR_RDONLY, true)
	})
}

func (s *session) eachExisting(dir string, names []string, cover func(target int) (mount int, err error)) error {
	for _, name := range names {
		target, err := rootpath.Open(s.stubs.Root, dir+"/"+name, unix.O_PATH|unix.O_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := cover(target)
		if err == nil {
			err = attach(m, target)
			unix.Close(m)
		}
		unix.Close(target)
		if err != nil {
			return fmt.Errorf("covering %s/%s: %w", dir, name, err)
		}
	}
	return nil
}

// mountDev provides a /dev with the devices that every process expects, which are the
// pod's own: no device can be made in a user namespace.
func (s *session) mountDev() error {
	// What is shown in it are mounts of their own.
	dev, err := newMount("tmpfs", s.noDevices(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_STRICTATIME),
		option{"mode", "0755"}, option{"size", "65536k"})
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	if err := s.attachAt(dev, "/dev"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := s.showDevice(dev, name); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"core": "/proc/kcore", "ptmx": "pts/ptmx",
	} {
		if err := unix.Symlinkat(target, dev, name); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	return s.mountInDev(dev)
}

func (s *session) showDevice(dev int, name string) error {
	m, err := s.showFile(unix.AT_FDCWD, "/dev/"+name)
	if errors.Is(err, unix.ENOENT) {
		return nil // the pod has none
	}
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := rootpath.MakeFile(dev, name, nil, 0o666); err != nil {
		return err
	}
	return s.attachIn(m, dev, name)
}

// attachIn attaches a mount at name in the directory dir of our own making.
func (s *session) attachIn(mount, dir int, name string) error {
	target, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return s.put(mount, target)
}

// mountInDev mounts the filesystems inside /dev: pseudo-terminals, shared memory and, where the
// kernel has them, message queues.
func (s *session) mountInDev(dev int) error {
	pts, err := newTerminals()
	if err != nil {
		return err
	}
	shm, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC,
		option{"mode", "1777"}, option{"size", strconv.FormatInt(s.spec.ShmSize, 10)})
	if err != nil {
		return err
	}
	mounts := []struct {
		name string
		fd   int
	}{{"pts", pts}, {"shm", shm}}
	mqueue, err := newMount("mqueue", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err == nil {
		mounts = append(mounts, struct {
			name string
			fd   int
		}{"mqueue", mqueue})
	} else if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EPERM) {
		return err
	}
	for _, m := range mounts {
		if err := unix.Mkdirat(dev, m.name, 0o755); err != nil {
			return err
		}
		if err := s.attachIn(m.fd, dev, m.name); err != nil {
			return fmt.Errorf("/dev/%s: %w", m.name, err)
		}
		unix.Close(m.fd)
	}
	return nil
}

// newTerminals makes a filesystem of pseudo-terminals. Group 5 does not exist in a small user
// namespace, and gVisor's takes no options.
func newTerminals() (fs int, err error) {
	own := []option{{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}}
	for _, options := range [][]option{append(own, option{"gid", "5"}), own, nil} {
		fs, err = newMount("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, options...)
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	return fs, err
}
