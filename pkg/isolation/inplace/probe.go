package inplace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
)

// probe tries what the backend needs in root. The marker comes first: without it, nothing is tried.
func probe(root string) error {
	no := func(reason string) error {
		return &isolation.UnsupportedError{Backend: Name, What: "RUN", Reason: reason}
	}
	if !filepath.IsAbs(root) {
		return fmt.Errorf("isolation: root %q is not absolute", root)
	}
	// After an interruption, the root has the files of the tree. There is a journal then, which
	// is only written where the marker was.
	if _, err := os.Lstat(filepath.Join(root, StoreName, "journal")); err != nil {
		if err := marked(root); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return no("it needs uid 0 (runAsUser: 0), and this is uid " + fmt.Sprint(os.Geteuid()))
	}
	have, err := host.Capabilities()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range []struct {
		n    int
		name string
	}{
		{unix.CAP_CHOWN, "CHOWN"}, {unix.CAP_DAC_OVERRIDE, "DAC_OVERRIDE"}, {unix.CAP_FOWNER, "FOWNER"}, {unix.CAP_FSETID, "FSETID"},
		{unix.CAP_KILL, "KILL"}, {unix.CAP_SETGID, "SETGID"}, {unix.CAP_SETUID, "SETUID"}, {unix.CAP_SETPCAP, "SETPCAP"},
		{unix.CAP_MKNOD, "MKNOD"}, {unix.CAP_SETFCAP, "SETFCAP"}, {unix.CAP_SYS_CHROOT, "SYS_CHROOT"},
	} {
		if !have.Has(c.n) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return no("the container lacks the capabilities " + strings.Join(missing, ", "))
	}
	return tryRename(root, no)
}

// marked refuses the root directory of anything that is not an image of ours.
func marked(root string) error {
	isRoot, err := sameAsRoot(root)
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	if !isRoot {
		return nil
	}
	if _, err := os.Lstat(Marker); err != nil {
		return &isolation.UnsupportedError{Backend: Name, What: "RUN", Reason: "this is not a container of the slipway image (" + Marker +
			" is missing), and the root directory of anything else is not exchanged"}
	}
	return nil
}

// sameAsRoot reports whether path is the root directory of this process, by whatever name.
func sameAsRoot(path string) (bool, error) {
	a, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	b, err := os.Stat("/")
	if err != nil {
		return false, err
	}
	return os.SameFile(a, b), nil
}

// tryRename makes, moves and removes a directory in root.
func tryRename(root string, no func(string) error) error {
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	err := tryIn(root, no)
	ts := []unix.Timespec{st.Atim, st.Mtim}
	if timeErr := unix.UtimesNanoAt(unix.AT_FDCWD, root, ts, 0); err == nil && timeErr != nil {
		err = fmt.Errorf("isolation: %w", timeErr)
	}
	return err
}

func tryIn(root string, no func(string) error) (err error) {
	dir, err := os.MkdirTemp(root, ".slipway-probe-")
	if errors.Is(err, unix.EROFS) {
		return no("the root filesystem is read-only (readOnlyRootFilesystem: true)")
	}
	if err != nil {
		return no("the root directory cannot be written to: " + err.Error())
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Mkdir(dir+"/a", 0o700); err != nil {
		return no("the root directory cannot be written to: " + err.Error())
	}
	if err := unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_NOREPLACE); err != nil {
		return no("directories cannot be renamed in the root filesystem: " + err.Error())
	}
	return nil
}
