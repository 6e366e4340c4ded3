package probe

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names of calls; each is tried in a process of its own, with a directory that it may write to.
const (
	// Namespaces by unshare(2) and by clone(2), for a program that then mounts.
	Unshare       = "unshare user and mount namespace"
	Clone         = "clone into user and mount namespace"
	NestedTmpfs   = "mount a tmpfs in new namespaces"
	NestedOverlay = "mount an overlay with userxattr in new namespaces"
	NestedBind    = "bind /proc, /sys and /dev in new namespaces"
	MountTmpfs    = "mount a tmpfs"
	Chroot        = "chroot"
	Mknod         = "mknod /dev/null"
	Chown         = "chown to 1234"
	Setuid        = "setuid to 1234"
	Setgroups     = "setgroups"
	FileCaps      = "set file capabilities"
	Sethostname   = "sethostname"
	AddKey        = "add_key"
	WriteRoot     = "write into /"
	RenameImage   = "rename a directory of the image"
	RenameOwn     = "rename a new directory"
	RenameToRoot  = "rename a new directory from / to another one below it"
	WriteProcSys  = "open /proc/sys/vm/swappiness for writing"
	WriteSys      = "make a cgroup in /sys/fs/cgroup"
	OpenNull      = "open /dev/null"
	RemountBind   = "unmount /etc/hosts"
)

// calls are all that can be tried, by name.
func calls() map[string]func(dir string) error {
	return map[string]func(dir string) error{
		Unshare:       unshare,
		Clone:         func(string) error { return nested("", "") },
		NestedTmpfs:   func(dir string) error { return nested(MountTmpfs, dir) },
		NestedOverlay: func(dir string) error { return nested(mountOverlay, dir) },
		NestedBind:    func(dir string) error { return nested(bindAll, dir) },
		MountTmpfs:    mountIn("tmpfs", "tmpfs", 0, ""),
		Chroot:        unix.Chroot,
		Mknod: func(dir string) error {
			return unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
		},
		Chown:       onFile(func(path string) error { return unix.Chown(path, 1234, 1234) }),
		Setuid:      func(string) error { return syscall.Setuid(1234) },
		Setgroups:   func(string) error { return syscall.Setgroups([]int{1, 2, 3}) },
		FileCaps:    onFile(setFileCapability),
		Sethostname: func(string) error { return unix.Sethostname([]byte("other")) },
		AddKey: func(string) error {
			_, err := unix.AddKey("user", "probe", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		},
		WriteRoot:    func(string) error { return errors.Join(os.Mkdir("/probe-made", 0o755), os.Remove("/probe-made")) },
		RenameImage:  func(string) error { return unix.Rename("/image", "/image-renamed") },
		RenameOwn:    renameOwn("/probe-a", "/probe-b"),
		RenameToRoot: renameOwn("/probe-beside/entry", "/probe-entry"),
		WriteProcSys: func(string) error { return openToWrite("/proc/sys/vm/swappiness") },
		WriteSys:     makeCgroup,
		OpenNull:     func(string) error { return openToWrite("/dev/null") },
		RemountBind:  func(string) error { return unix.Unmount("/etc/hosts", unix.MNT_DETACH) },
	}
}

func callNames() []string { return slices.Sorted(maps.Keys(calls())) }

// Calls that need namespaces made before.
const (
	mountOverlay = "mount an overlay with userxattr"
	bindAll      = "bind /proc, /sys and /dev"
)

func nestedCalls() map[string]func(dir string) error {
	return map[string]func(dir string) error{
		"": func(string) error { return nil },
		mountOverlay: func(dir string) error {
			for _, name := range []string{"lower", "upper", "work"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
					return err
				}
			}
			options := strings.ReplaceAll("lowerdir=D/lower,upperdir=D/upper,workdir=D/work,userxattr", "D", dir)
			return mountIn("overlay", "overlay", 0, options)(dir)
		},
		bindAll: func(dir string) error {
			for _, source := range []string{"/proc", "/sys", "/dev"} {
				if err := mountIn(source, "", unix.MS_BIND|unix.MS_REC, "")(dir); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// Try makes one call and prints its outcome.
func Try(name, dir string) error {
	call, known := calls()[name]
	if !known {
		call, known = nestedCalls()[name]
	}
	if !known {
		return fmt.Errorf("%q is not a call", name)
	}
	outcome := OK
	if err := call(dir); err != nil {
		outcome = errorName(err)
	}
	_, err := os.Stdout.WriteString(outcome)
	return err
}

// errorName gives the name of the error number, as in errno(3), and all of an error without one.
func errorName(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return unix.ErrnoName(number)
	}
	return err.Error()
}

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS

// unshare moves a new process into new namespaces, without mapping ids.
func unshare(string) error {
	cmd := exec.Command("/proc/self/exe", "try", "", "")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: namespaces}
	return outcome(cmd)
}

// nested makes another call in a process with new namespaces and the same ids.
func nested(call, dir string) error {
	cmd := exec.Command("/proc/self/exe", "try", call, dir)
	ids, err := sameIDs("/proc/self/uid_map")
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: namespaces, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	return outcome(cmd)
}

func outcome(cmd *exec.Cmd) error {
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	if string(out) != OK {
		return errors.New(string(out))
	}
	return nil
}

func sameIDs(file string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var ids []syscall.SysProcIDMap
	for line := range strings.Lines(string(data)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return nil, err
		}
		ids = append(ids, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return ids, nil
}

func mountIn(source, fstype string, flags uintptr, options string) func(dir string) error {
	return func(dir string) error {
		target, err := os.MkdirTemp(dir, "mount-")
		if err != nil {
			return err
		}
		return unix.Mount(source, target, fstype, flags, options)
	}
}

func onFile(call func(path string) error) func(dir string) error {
	return func(dir string) error {
		f, err := os.CreateTemp(dir, "file-")
		if err != nil {
			return err
		}
		defer f.Close()
		return call(f.Name())
	}
}

// setFileCapability gives a file CAP_NET_RAW, in the form of version 2 of the attribute
// (struct vfs_cap_data in linux/capability.h).
func setFileCapability(path string) error {
	value := make([]byte, 20)
	value[3] = 2 // VFS_CAP_REVISION_2, little-endian
	value[5] = 1 << (unix.CAP_NET_RAW - 8)
	return unix.Setxattr(path, "security.capability", value, 0)
}

func renameOwn(from, to string) func(string) error {
	return func(string) error {
		if err := os.MkdirAll(filepath.Join(from, "below"), 0o755); err != nil {
			return err
		}
		return errors.Join(unix.Rename(from, to), os.RemoveAll(to), os.RemoveAll(from))
	}
}

func openToWrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// makeCgroup makes a control group, in the hierarchy for memory if there are several.
func makeCgroup(string) error {
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(parent + "/memory"); err == nil {
		parent += "/memory"
	}
	return errors.Join(os.Mkdir(parent+"/probe", 0o755), os.Remove(parent+"/probe"))
}
