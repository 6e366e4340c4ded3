package initproc

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
)

// Everything here mounts by descriptor (fsopen(2), open_tree(2), move_mount(2)): a path that is
// given to mount(2) would be resolved again, outside of the rules for paths of an image.

func makePrivate() error {
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// option is one parameter of a new filesystem.
type option struct{ key, value string }

// newMount makes a detached mount of a new in-kernel filesystem.
func newMount(fstype string, attrs int, options ...option) (fd int, err error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("%s: fsopen: %w", fstype, err)
	}
	defer unix.Close(fs)
	for _, o := range options {
		if o.value == "" {
			err = unix.FsconfigSetFlag(fs, o.key)
		} else {
			err = unix.FsconfigSetString(fs, o.key, o.value)
		}
		if err != nil {
			return -1, fmt.Errorf("%s: option %s=%s: %w", fstype, o.key, o.value, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("%s: %w", fstype, err)
	}
	fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("%s: fsmount: %w", fstype, err)
	}
	return fd, nil
}

// cloneMount makes a detached mount of what is at path already, relative to dirfd: a bind mount
// that is not attached yet. path may be empty for dirfd itself.
func cloneMount(dirfd int, path string, recursive bool) (fd int, err error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err = unix.OpenTree(dirfd, path, flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	return fd, nil
}

// attach puts a detached mount over what target refers to.
func attach(mount, target int) error {
	err := unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// makeReadOnly makes a mount read-only that is attached at target, and returns a descriptor of the mount.
func (s *session) makeReadOnly(mount int, target string) (int, error) {
	if !s.spec.Sentry {
		return mount, restrict(mount, unix.MOUNT_ATTR_RDONLY, false)
	}
	at, err := rootpath.Open(s.stubs.Root, target, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	return at, remount(at, unix.MS_RDONLY)
}

// makeWritable takes back makeReadOnly, whose descriptor it takes.
func (s *session) makeWritable(mount int) error {
	if s.spec.Sentry {
		return remount(mount, 0)
	}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// remount gives an attached mount these flags and no others.
func remount(mount int, flags uintptr) error {
	if err := unix.Mount("", descriptorPath(mount), "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	return nil
}

// descriptorPath is a path to what a descriptor refers to.
func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// showFile makes what can be attached of a file that is no directory. gVisor has no detached mounts of
// such, so there it is the file itself.
func (s *session) showFile(dirfd int, path string) (int, error) {
	if !s.spec.Sentry {
		return cloneMount(dirfd, path, false)
	}
	fd, err := unix.Openat(dirfd, path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	return fd, nil
}

// put attaches what newMount, cloneMount or showFile made over what target refers to.
func (s *session) put(mount, target int) error {
	if !s.spec.Sentry || rootpath.CheckKind(mount, true) == nil {
		return attach(mount, target)
	}
	if err := unix.Mount(descriptorPath(mount), descriptorPath(target), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// restrict adds attributes (MOUNT_ATTR_RDONLY, …) to a mount.
func restrict(mount int, attrs uint64, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(mount, "", flags, &unix.MountAttr{Attr_set: attrs}); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// mountOverlay mounts o at its mount point and returns the root of the mount.
//
// The upper directory is to become a layer as it is, so everything is off that would
// leave something in it that only overlayfs understands: redirected directories,
// metadata-only copies, an index. "volatile" leaves out all syncing: a build that the machine does
// not survive is lost in any case, and no upper directory outlives its build.
func (s *session) mountOverlay(o *Overlay) (root int, err error) {
	options := []string{"lowerdir=" + strings.Join(o.Lowers, ":"), "upperdir=" + o.Upper, "workdir=" + o.Work}
	if !s.spec.Sentry {
		options = append(options, "redirect_dir=nofollow", "metacopy=off", "index=off", "xino=off", "volatile")
	}
	if strings.HasPrefix(string(s.spec.Xattrs), "user.") {
		options = append(options, "userxattr")
	}
	// fsconfig(2) takes 256 bytes a value, and one lower directory at a time only since
	// Linux 6.5; mount(2) takes a page, which the short names fit into.
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize() {
		return -1, fmt.Errorf("overlay: %d lower directories do not fit into the options of mount(2)", len(o.Lowers))
	}
	flags := o.Flags
	if s.spec.NoDevices {
		flags |= unix.MS_NODEV
	}
	if err := unix.Mount("overlay", o.Mountpoint, "overlay", flags, data); err != nil {
		return -1, fmt.Errorf("overlay: %w", err)
	}
	return openDir(unix.AT_FDCWD, o.Mountpoint)
}

func openDir(dirfd int, path string) (int, error) {
	fd, err := unix.Openat(dirfd, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	return fd, nil
}

// attachAt attaches a detached mount at target inside the root, making a mount point if there
// is none: a directory or a file, as the mount's own root is.
func (s *session) attachAt(mount int, target string) error {
	var st unix.Stat_t
	if err := unix.Fstat(mount, &st); err != nil {
		return err
	}
	point, err := s.stubs.Place(target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", target, err)
	}
	defer unix.Close(point)
	if err := s.put(mount, point); err != nil {
		return fmt.Errorf("at %s: %w", target, err)
	}
	return nil
}

// detachAll takes the root and everything mounted in it out of the namespace, at once: the files in
// it stay reachable by descriptors that are open, and none is a mount point any more.
func (s *session) detachAll() error {
	empty, err := newMount("tmpfs", 0)
	if err != nil {
		return err
	}
	defer unix.Close(empty)
	if err := attach(empty, s.stubs.Root); err != nil {
		return err
	}
	return changeRoot(empty)
}

// changeRoot makes the mount that root is the root of the root of this process and of its
// namespace, and detaches the old one.
func changeRoot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	// The old root is now mounted over the new one.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.Chdir("/")
}
