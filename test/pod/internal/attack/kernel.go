package attack

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// devices makes devices and opens them: memory, the kernel's log, loop devices, and all disks of the machine.
func (a *attacker) devices() []string {
	list := []struct {
		name         string
		kind         uint32
		major, minor uint32
	}{{"mem", unix.S_IFCHR, 1, 1}, {"kmsg", unix.S_IFCHR, 1, 11}, {"loop-control", unix.S_IFCHR, 10, 237}, {"disk", unix.S_IFBLK, 254, 0}, {"disk", unix.S_IFBLK, 8, 0}}
	if f, err := os.Open("/proc/partitions"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var major, minor uint32
			if _, err := fmt.Sscan(lines.Text(), &major, &minor); err == nil {
				list = append(list, struct {
					name         string
					kind         uint32
					major, minor uint32
				}{"disk", unix.S_IFBLK, major, minor})
			}
		}
	}
	var found []string
	for _, dir := range []string{"/", "/dev", "/dev/shm", "/tmp"} {
		for _, d := range list {
			path := filepath.Join(dir, "attack-device")
			if unix.Mknod(path, d.kind|0o600, int(unix.Mkdev(d.major, d.minor))) != nil {
				continue
			}
			for range opened(path) {
				found = append(found, fmt.Sprintf("%s %d,%d in %s", d.name, d.major, d.minor, dir))
			}
			_ = os.Remove(path) // in a tree that nobody uses
		}
	}
	return found
}

// handles opens files by handle, which takes no path: those of the mount points, and the directory that is the root of many
// filesystems.
func (a *attacker) handles() []string {
	var found []string
	for _, m := range a.mountPoints() {
		fd, err := unix.Open(m.Mountpoint, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		handles := []unix.FileHandle{unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})} // inode 2, generation 0
		if own, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH); err == nil {
			handles = append(handles, own)
		}
		for i, h := range handles {
			if got, err := unix.OpenByHandleAt(fd, h, unix.O_RDONLY|unix.O_NONBLOCK); err == nil {
				found = append(found, fmt.Sprintf("%s: handle %d", m.Mountpoint, i))
				_ = unix.Close(got) // was only opened
			}
		}
		_ = unix.Close(fd) // was only opened
	}
	return found
}

func (a *attacker) mountPoints() []*mountinfo.Info {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil
	}
	return mounts
}

// kernelFiles opens files for writing that change the kernel, or show its memory.
func (a *attacker) kernelFiles() []string {
	var found []string
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward",
		"/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/kcore", "/sys/kernel/uevent_helper", "/sys/power/state",
		"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/memory/cgroup.procs",
	} {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		}
		if err == nil {
			found = append(found, path)
			_ = unix.Close(fd) // was only opened
		}
	}
	return found
}

// mounts mounts filesystems that show the kernel, or that hide what is there.
func (a *attacker) mounts() []string {
	dir, err := os.MkdirTemp("/", "attack-mount-")
	if err != nil {
		return nil
	}
	defer func() { _ = os.Remove(dir) }() // in a tree that nobody uses
	var found []string
	for _, fs := range []string{"proc", "sysfs", "cgroup2", "cgroup", "devtmpfs", "tmpfs", "debugfs", "securityfs", "mqueue", "bind"} {
		source, kind, flags := fs, fs, uintptr(0)
		if fs == "bind" {
			source, kind, flags = "/proc", "", unix.MS_BIND|unix.MS_REC
		}
		if unix.Mount(source, dir, kind, flags, "") == nil {
			found = append(found, fs)
			_ = unix.Unmount(dir, unix.MNT_DETACH) // in a namespace that nobody uses
		}
	}
	return found
}

// remounts makes mounts writable that are not, and then writes to the victim.
func (a *attacker) remounts() []string {
	var found []string
	for _, m := range a.mountPoints() {
		if !slices.Contains(strings.Split(m.Options, ","), "ro") {
			continue
		}
		if unix.Mount("", m.Mountpoint, "", unix.MS_REMOUNT|unix.MS_BIND, "") == nil {
			found = append(found, m.Mountpoint)
		}
	}
	if os.WriteFile(a.victim, []byte("damaged\n"), 0o644) == nil {
		found = append(found, a.victim)
	}
	return found
}

// nested makes the attacks once more in new namespaces, with every capability there. Mounting is left out, which is what one is
// for.
func (a *attacker) nested() []string {
	cmd := exec.Command("/proc/self/exe", "attack-nested", a.victim, strconv.Itoa(os.Getppid()))
	ids := []syscall.SysProcIDMap{{Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: ids, GidMappings: ids,
	}
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	report, err := Read(string(out))
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for _, name := range Names() {
		for _, what := range report[name] {
			found = append(found, name+": "+what)
		}
	}
	return found
}

// Nested is what nested runs; own is the parent of the attack itself.
func Nested(victim string, own int) error {
	a, err := newAttacker(victim, os.Getppid(), own)
	if err != nil {
		return err
	}
	parent := fmt.Sprint("/proc/", os.Getppid())
	a.others = slices.DeleteFunc(a.others, func(dir string) bool { return dir == parent })
	report := Report{}
	for _, attack := range attacks() {
		if attack.name == "mounting" || strings.HasPrefix(attack.name, "all") {
			continue
		}
		report[attack.name] = attack.try(a)
	}
	return report.Write()
}
