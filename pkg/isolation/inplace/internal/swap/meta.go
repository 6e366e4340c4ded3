package swap

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/xattr"
)

// meta are the attributes of a directory that changing its content or overlaying another one
// changes. It is written to the journal, so values of extended attributes are bytes.
type meta struct {
	Path     string // relative to the root
	Mode     uint32
	UID, GID int
	Sec, Ns  int64 // modification time
	Xattrs   map[string][]byte
}

func readMeta(path string) (meta, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return meta{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	m := meta{Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), Sec: st.Mtim.Sec, Ns: st.Mtim.Nsec, Xattrs: map[string][]byte{}}
	attrs, err := xattr.Read(path, ours)
	if err != nil {
		return meta{}, fmt.Errorf("%s: %w", path, err)
	}
	for name, value := range attrs {
		m.Xattrs[name] = []byte(value)
	}
	return m, nil
}

// apply gives the directory at path the attributes m, the time last. Only what differs is
// changed: this process may lack the privilege for attributes that are right already.
func (m *meta) apply(path string) error {
	now, err := readMeta(path)
	if err != nil {
		return err
	}
	if now.UID != m.UID || now.GID != m.GID {
		if err := os.Lchown(path, m.UID, m.GID); err != nil {
			return err
		}
	}
	for name := range now.Xattrs {
		if _, keep := m.Xattrs[name]; !keep {
			if err := unix.Lremovexattr(path, name); err != nil {
				return &os.PathError{Op: "removexattr " + name, Path: path, Err: err}
			}
		}
	}
	for name, value := range m.Xattrs {
		if string(now.Xattrs[name]) == string(value) && now.Xattrs[name] != nil {
			continue
		}
		if err := unix.Lsetxattr(path, name, value, 0); err != nil {
			return &os.PathError{Op: "setxattr " + name, Path: path, Err: err}
		}
	}
	if err := unix.Chmod(path, m.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: m.Sec, Nsec: m.Ns}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

// ours accepts all extended attributes but those of overlayfs and of the host's policy.
func ours(name string) bool {
	return name != "security.selinux" && !strings.HasPrefix(name, string(overlay.Trusted))
}
