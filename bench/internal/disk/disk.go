// Package disk gives each build a filesystem that nobody has used: ext4 goes out of the way of files that were just deleted, so that what
// one builder leaves behind would slow down the next.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// size is that of the filesystem, in bytes; it takes what is written to it.
const size = 64 << 30

// patience is how long processes that were killed may take to let go of it.
const patience = 10 * time.Second

// Use makes a filesystem in a file below dir, calls f with where it is mounted, and removes it.
func Use(ctx context.Context, dir string, f func(mounted string) error) (err error) {
	image, mounted := filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk")
	if err := errors.Join(os.MkdirAll(mounted, 0o755), sparse(image)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(image)) }()
	for _, args := range [][]string{
		// What a new filesystem would do in the background is done before, or not at all.
		{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", image},
		{"mount", "-o", "loop,noatime,noinit_itable", image, mounted},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", args[0], err, out)
		}
	}
	defer func() { err = errors.Join(err, unmount(mounted)) }()
	if err := os.Chmod(mounted, 0o777); err != nil { // a pod may be somebody else's
		return err
	}
	return f(mounted)
}

func sparse(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

func unmount(path string) error {
	for end := time.Now().Add(patience); ; {
		err := unix.Unmount(path, 0)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
