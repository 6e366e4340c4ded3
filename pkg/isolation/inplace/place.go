package inplace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/swap"
	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
)

// placement is a file that was put over another one, which waits aside.
type placement struct {
	parent int // the directory, opened
	name   string
	source string // where the file came from and goes back to
	aside  string
}

// place moves source to target in the root, and what is there aside. dir says whether target is to
// be a directory, or link to one.
func (r *run) place(source, target string, dir bool) error {
	fd, err := r.stubs.Place(target, dir)
	if err != nil {
		return err
	}
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	unix.Close(fd)
	if err != nil {
		return err
	}
	rel, ok := swap.Below(r.backend.root, path)
	switch {
	case !ok || rel == "":
		return fmt.Errorf("%s is not below %s", path, r.backend.root)
	case r.pins.Above(rel) || r.pins.Pinned(rel):
		return r.backend.unsupported("a mount at "+target, "the pod has something mounted at or below /"+rel+", which cannot be moved")
	}
	parent, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p := placement{parent: parent, name: filepath.Base(path), source: source, aside: filepath.Join(r.dir, r.backend.id("a"))}
	if r.pins.Covers(rel) {
		err = r.placeLink(&p, path)
	} else {
		err = rootpath.KeepTimes(parent, func() error {
			if err := unix.Renameat(parent, p.name, unix.AT_FDCWD, p.aside); err != nil {
				return fmt.Errorf("moving %s aside: %w", target, err)
			}
			r.placed = append(r.placed, p)
			return unix.Renameat(unix.AT_FDCWD, source, parent, p.name)
		})
	}
	return err
}

// placeLink makes a link to the source, for a target on another filesystem of the pod. Only what
// this process has made there is replaced.
func (r *run) placeLink(p *placement, path string) error {
	defer unix.Close(p.parent)
	if r.stubs.Last() != p.name {
		return r.backend.unsupported("a mount at "+path, "it lies on another filesystem of the pod, where there is something at this path")
	}
	if err := r.backend.swap.Litter(path); err != nil {
		return err
	}
	if err := r.stubs.RemoveLast(); err != nil {
		return err
	}
	rel, _ := swap.Below(r.backend.root, p.source)
	return unix.Symlinkat("/"+rel, p.parent, p.name)
}

// takeAway undoes all placements, last first, and removes the mount points that were made.
func (r *run) takeAway() error {
	var errs []error
	for i := len(r.placed) - 1; i >= 0; i-- {
		if err := r.placed[i].undo(); err != nil {
			errs = append(errs, fmt.Errorf("isolation: removing the mount %s: %w", r.placed[i].name, err))
		}
	}
	r.placed = nil
	return errors.Join(append(errs, r.stubs.Remove())...)
}

func (p *placement) undo() error {
	defer unix.Close(p.parent)
	var st unix.Stat_t
	if err := unix.Fstat(p.parent, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return nil // the process removed the directory, and with it the mount
	}
	return rootpath.KeepTimes(p.parent, func() error {
		err := unix.Renameat(p.parent, p.name, unix.AT_FDCWD, p.source)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return unix.Renameat(unix.AT_FDCWD, p.aside, p.parent, p.name)
	})
}
