package pod

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func (c *container) rootfs() string { return filepath.Join(c.dir, "rootfs") }
func (c *container) files() string  { return filepath.Join(c.dir, "files") }

// mountAll mounts the container's root filesystem and, somewhere in its directory, what will be
// bound into it; it returns the binds.
//
// In a user namespace ids are shifted as containerd and kubelet do it: the image's files and
// all volumes and files of the node by idmapped mounts, and only the directory that the
// container's own changes go to is owned by the shifted root.
func (c *container) mountAll(spec *Spec) ([]specs.Mount, error) {
	m := &mounter{dir: c.dir}
	if shift := spec.Shape.shift(); shift != 0 {
		namespace, err := mapping(fmt.Sprintf("0:%d:%d", shift, idCount))
		if err != nil {
			return nil, err
		}
		defer namespace.Close()
		m.userns = namespace
		m.shift = shift
	}
	if err := m.root(spec.Rootfs, c.rootfs(), spec.RootSize); err != nil {
		return nil, err
	}
	mounts, err := m.nodeFiles(c.files(), spec)
	if err != nil {
		return nil, err
	}
	account, err := m.serviceAccount(cmp.Or(spec.Token, "not-a-token"))
	if err != nil {
		return nil, err
	}
	mounts = append(mounts, account, cgroupMount())
	for i, v := range spec.Volumes {
		bound, err := m.volume(i, v)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Path, err)
		}
		mounts = append(mounts, bound)
	}
	return mounts, nil
}

// cgroupMount is what containerd's CRI plugin adds to the default mounts.
func cgroupMount() specs.Mount {
	return specs.Mount{
		Source: "cgroup", Destination: "/sys/fs/cgroup", Type: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
	}
}

// mounter mounts directories of a node for one container.
type mounter struct {
	dir    string
	userns *os.File // nil for the node's own
	shift  int
}

// root mounts an image's files, and above them an empty directory for changes, of size bytes if
// that is not 0.
func (m *mounter) root(image, target string, size int64) error {
	writable := filepath.Join(m.dir, "writable")
	if err := m.writable(writable, size); err != nil {
		return err
	}
	lower, upper, work := filepath.Join(m.dir, "lower"), filepath.Join(writable, "upper"), filepath.Join(writable, "work")
	for _, dir := range []string{upper, work, target} {
		if err := m.directory(dir, 0o755); err != nil {
			return err
		}
	}
	// As the image's root is, since this is what the container sees.
	info, err := os.Stat(image)
	if err != nil {
		return fmt.Errorf("root filesystem: %w", err)
	}
	if err := os.Chmod(upper, info.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Chown(upper, m.shift, m.shift); err != nil {
		return err
	}
	if err := m.bind(image, lower); err != nil {
		return fmt.Errorf("root filesystem: %w", err)
	}
	// index=off, as containerd has it.
	options := "index=off,lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	err = unix.Mount("overlay", target, "overlay", 0, options)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("mounting the root filesystem: %w; the directory for temporary files must not lie on an overlay filesystem itself", err)
	}
	if err != nil {
		return fmt.Errorf("mounting the root filesystem: %w", err)
	}
	return nil
}

// writable makes the directory for the container's own changes.
func (m *mounter) writable(path string, size int64) error {
	if size == 0 {
		return m.directory(path, 0o755)
	}
	return m.tmpfs(path, fmt.Sprintf("mode=755,size=%d", size))
}

// volume makes a volume ready to be bound to its place.
func (m *mounter) volume(number int, v Volume) (specs.Mount, error) {
	target := filepath.Join(m.dir, "volume-"+strconv.Itoa(number))
	source := v.Host
	if v.Memory > 0 {
		source = target + "-memory"
		if err := m.tmpfs(source, fmt.Sprintf("mode=777,size=%d", v.Memory)); err != nil {
			return specs.Mount{}, err
		}
	}
	if v.Owner != 0 {
		namespace, err := mapping(exchange(int(v.Owner)))
		if err != nil {
			return specs.Mount{}, err
		}
		defer namespace.Close()
		// Without what is mounted below it: there may be this container's own directory.
		alone := target + "-alone"
		if err := m.directory(alone, 0o755); err != nil {
			return specs.Mount{}, err
		}
		if err := unix.Mount(source, alone, "", unix.MS_BIND, ""); err != nil {
			return specs.Mount{}, fmt.Errorf("binding %s: %w", source, err)
		}
		m, source = &mounter{dir: m.dir, userns: namespace}, alone
	}
	if err := m.bind(source, target); err != nil {
		return specs.Mount{}, err
	}
	return bound(target, v.Path, v.ReadOnly), nil
}

// mapping makes a user namespace that maps users and groups alike, for idmapped mounts.
func mapping(ids string) (*os.File, error) {
	namespace, err := mount.GetUsernsFD(ids, ids)
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	return namespace, nil
}

// exchange maps root to an id and that id to root, and leaves all others as they are.
func exchange(id int) string {
	ids := fmt.Sprintf("0:%[1]d:1,%[1]d:0:1,%[2]d:%[2]d:%[3]d", id, id+1, 1<<31-id-1)
	if id > 1 {
		ids += fmt.Sprintf(",1:1:%d", id-1)
	}
	return ids
}

// bound is a mount of the container, with the options that containerd's CRI plugin uses.
func bound(source, destination string, readOnly bool) specs.Mount {
	access := "rw"
	if readOnly {
		access = "ro"
	}
	return specs.Mount{Source: source, Destination: destination, Type: "bind", Options: []string{"rbind", "rprivate", access}}
}

// bind makes a directory appear at target, which is made, with ids shifted if the
// container has a user namespace.
func (m *mounter) bind(source, target string) error {
	if err := m.directory(target, 0o755); err != nil {
		return err
	}
	if m.userns != nil {
		if err := mount.IDMapMount(source, target, int(m.userns.Fd())); err != nil {
			return fmt.Errorf("shifting ids: %w", err)
		}
		return nil
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %s: %w", source, err)
	}
	return nil
}

// tmpfs mounts a file system in memory, with kubelet's flags: none.
func (m *mounter) tmpfs(target, options string) error {
	if err := m.directory(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", target, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	return nil
}

// directory makes a directory with a mode that does not depend on the umask.
func (m *mounter) directory(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
