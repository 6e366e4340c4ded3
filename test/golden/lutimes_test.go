package golden

import (
	"time"

	"golang.org/x/sys/unix"
)

// lutimes sets the modification time of a file, or of a symbolic link itself.
func lutimes(path string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
