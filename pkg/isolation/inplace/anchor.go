package inplace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// anchor is a directory of the pod that stays in the root, because something is mounted in it. The
// kernel lets a process rename it nevertheless, mounts and all.
type anchor struct {
	path string
	fd   int
}

// dropAnchors remembers where the directories are that stay, parents first.
func (r *run) dropAnchors() error {
	for _, rel := range r.pins.Parents() {
		path := filepath.Join(r.backend.root, rel)
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("isolation: %w", &os.PathError{Op: "open", Path: path, Err: err})
		}
		r.anchors = append(r.anchors, anchor{path, fd})
	}
	return nil
}

// weighAnchors moves directories back that the process has moved; what it put in their places goes
// aside. That it did is an error: there is no way to have it in a layer.
func (r *run) weighAnchors() error {
	var errs []error
	for _, a := range r.anchors {
		errs = append(errs, r.moveBack(a), unix.Close(a.fd))
	}
	r.anchors = nil
	return errors.Join(errs...)
}

func (r *run) moveBack(a anchor) error {
	now, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(a.fd))
	if err != nil || now == a.path {
		return err
	}
	displaced := filepath.Join(r.dir, r.backend.id("d"))
	if err := unix.Rename(a.path, displaced); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("isolation: moving %s aside: %w", a.path, err)
	}
	if err := unix.Rename(now, a.path); err != nil {
		return fmt.Errorf("isolation: moving %s back to %s: %w", now, a.path, err)
	}
	return r.backend.unsupported("moving "+a.path+" to "+now, "the pod has something mounted in it")
}
