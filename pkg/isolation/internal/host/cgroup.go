package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Cgroup is a control group, or one in each hierarchy of version 1, for a single RUN. A nil Cgroup is
// that of a RUN that asks for none.
type Cgroup struct {
	dirs   []string // which the process joins
	made   []string // what was made, in this order
	memory string   // the file that counts kills
}

// NewCgroup makes a control group with the limits of p, nil if it asks for none. It lies below
// p.CgroupParent, or below the group of this process. Where that cannot be, the error is an
// *isolation.UnsupportedError of the backend.
func NewCgroup(backend string, p *isolation.Process) (*Cgroup, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	return newCgroup(&hierarchies{mount: cgroups, own: string(own)}, backend, p)
}

func newCgroup(h *hierarchies, backend string, p *isolation.Process) (*Cgroup, error) {
	var limits isolation.Resources
	if p.Resources != nil {
		limits = *p.Resources
	}
	if p.CgroupParent == "" && limits == (isolation.Resources{}) {
		return nil, nil
	}
	g := &Cgroup{}
	err := g.make(h, p.CgroupParent, "slipway-run-"+rand.Text(), limits)
	if err == nil {
		return g, nil
	}
	what := "limiting memory or processors of RUN"
	if p.CgroupParent != "" {
		what = "--cgroup-parent"
	}
	const advice = "; set resources.limits of the pod instead"
	return nil, errors.Join(&isolation.UnsupportedError{Backend: backend, What: what, Reason: err.Error() + advice}, g.Remove())
}

func (g *Cgroup) make(h *hierarchies, parent, name string, limits isolation.Resources) error {
	v2 := h.unified()
	for _, c := range controllers() {
		settings := c.settings(v2, limits)
		if len(settings) == 0 && parent == "" {
			continue
		}
		var dir string
		var err error
		if v2 {
			dir, err = g.makeUnified(h, parent, name, c.name, len(settings) > 0)
		} else {
			dir, err = g.makeSplit(h, parent, name, c.name)
		}
		if err != nil {
			return err
		}
		if !slices.Contains(g.dirs, dir) {
			g.dirs = append(g.dirs, dir)
		}
		for _, s := range settings {
			if err := writeFile(filepath.Join(dir, s.file), s.value); err != nil {
				return fmt.Errorf("setting %s to %s: %w", s.file, s.value, err)
			}
		}
		if c.name == "memory" {
			g.memory = filepath.Join(dir, map[bool]string{false: "memory.oom_control", true: "memory.events"}[v2])
		}
	}
	return nil
}

// makeUnified makes the group in the one hierarchy of version 2, with a controller if it is needed.
func (g *Cgroup) makeUnified(h *hierarchies, parent, name, controller string, needed bool) (string, error) {
	levels := []string{h.path("", "")}
	if parent != "" {
		levels = below(h.mount, parent)
	}
	for _, dir := range levels {
		if err := g.mkdir(dir); err != nil {
			return "", err
		}
		if !needed {
			continue
		}
		if err := enable(dir, controller); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(levels[len(levels)-1], name)
	return dir, g.mkdir(dir)
}

// enable gives the groups below dir a controller.
func enable(dir, controller string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(string(data)), controller) {
		return nil
	}
	err = writeFile(file, "+"+controller)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("the control group %s has processes of its own, so that groups below it cannot have limits", dir)
	}
	return err
}

// makeSplit makes the group in a controller's own hierarchy of version 1.
func (g *Cgroup) makeSplit(h *hierarchies, parent, name, controller string) (string, error) {
	levels := []string{h.path(controller, controller)}
	if parent != "" {
		levels = below(filepath.Join(h.mount, controller), parent)
	}
	levels = append(levels, filepath.Join(levels[len(levels)-1], name))
	for i, dir := range levels {
		if err := g.mkdir(dir); err != nil {
			return "", err
		}
		if controller != "cpuset" || i == 0 {
			continue
		}
		// A new group has no processors and no memory nodes, and nothing can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(dir, file); err != nil {
				return "", err
			}
		}
	}
	return levels[len(levels)-1], nil
}

// inherit gives a file of a group the value that it has in the group above, if it is empty.
func inherit(dir, file string) error {
	own, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || strings.TrimSpace(string(own)) != "" {
		return err
	}
	above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, file), strings.TrimSpace(string(above)))
}

func (g *Cgroup) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case err == nil:
		g.made = append(g.made, dir)
		return nil
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, unix.EROFS):
		return errors.New("the control groups are mounted read-only here")
	}
	return fmt.Errorf("making a control group: %w", err)
}

// Add moves a process into the group. What it has started already stays where it is.
func (g *Cgroup) Add(pid int) error {
	if g == nil {
		return nil
	}
	for _, dir := range g.dirs {
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("isolation: moving the process into its control group: %w", err)
		}
	}
	return nil
}

// OOMKills counts the processes of the group that were killed because its memory ran out.
func (g *Cgroup) OOMKills() int {
	if g == nil || g.memory == "" {
		return 0
	}
	data, err := os.ReadFile(g.memory)
	if err != nil {
		return 0
	}
	n, _ := oomCount(string(data))
	return n
}

// Explain returns the error for a command of whose parent err is all that is known: in a small
// group, the parent too may be killed when memory runs out.
func (g *Cgroup) Explain(args []string, err error) error {
	if g.OOMKills() == 0 {
		return err
	}
	return errors.Join(&isolation.ExitError{Code: 128 + int(unix.SIGKILL), Signal: unix.SIGKILL, OOM: true, Args: args}, err)
}

// CheckCgroup makes the group that NewCgroup would make, and removes it.
func CheckCgroup(backend string, p *isolation.Process) error {
	g, err := NewCgroup(backend, p)
	if err != nil {
		return err
	}
	return g.Remove()
}

// Remove removes what was made, when all processes in it have ended; parents that others use
// by now stay.
func (g *Cgroup) Remove() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, dir := range slices.Backward(g.made) {
		if err := g.rmdir(dir); err != nil {
			errs = append(errs, fmt.Errorf("isolation: removing a control group: %w", err))
		}
	}
	g.made = nil
	return errors.Join(errs...)
}

func (g *Cgroup) rmdir(dir string) error {
	// The kernel takes a moment to let go of processes that have ended.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !slices.Contains(g.dirs, dir) && errors.Is(err, unix.EBUSY):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(deadline):
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
}

// writeFile writes to a file that exists.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
