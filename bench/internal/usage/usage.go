// Package usage runs commands in a control group and tells what they used: all of their processes together, also
// those that the command asked somebody else to start in the group.
//
// Groups are those of version 1 ("memory" and "cpuacct") or of version 2.
package usage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what was used in a time.
type Usage struct {
	// Wall is how long it took.
	Wall time.Duration
	// User and System are of all processes.
	User, System time.Duration
	// Memory is how many bytes all processes had at most at a time in memory of their own: without the page
	// cache, which the kernel takes back. It is looked at 50 times a second; what processes share after a fork counts for each.
	Memory int64
	// Own is the same of the processes that run the group's programs: of the builder without what it runs.
	Own int64
}

// interval is how often memory is looked at.
const interval = 20 * time.Millisecond

// Group is a control group, with groups below it that have the processes.
type Group struct {
	name        string
	cpu, memory string // directories
	unified     bool
	programs    []string // whose memory is Usage.Own
}

// Where control groups are mounted, and the group below a Group for what Start starts.
const (
	root     = "/sys/fs/cgroup"
	commands = "commands"
)

// New makes a group at the top of the hierarchy. Programs are names of files, for [Usage.Own].
func New(name string, programs ...string) (*Group, error) {
	g := &Group{name: name, cpu: filepath.Join(root, name), programs: programs}
	g.memory = g.cpu
	_, err := os.Stat(filepath.Join(root, "cgroup.controllers"))
	switch {
	case err == nil:
		g.unified = true
		if err := mkdir(g.cpu); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(g.cpu, "cgroup.subtree_control"), []byte("+cpu +memory"), 0o644); err != nil {
			return nil, err
		}
		return g, mkdir(filepath.Join(g.cpu, commands))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	g.cpu, g.memory = filepath.Join(root, "cpuacct", name), filepath.Join(root, "memory", name)
	for _, dir := range []string{g.cpu, g.memory} {
		if err := errors.Join(mkdir(dir), mkdir(filepath.Join(dir, commands))); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Path is where a group may be made below this one, which then counts for it.
func (g *Group) Path(name string) string { return "/" + g.name + "/" + name }

func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Remove ends the group, in which all processes are killed.
func (g *Group) Remove() error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		if err := g.kill(); err != nil {
			return err
		}
		err := g.remove()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(interval)
	}
}

func (g *Group) remove() error {
	for _, dir := range []string{g.cpu, g.memory} {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a group and those in it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}

func (g *Group) kill() error {
	return g.processes(func(pid int) error {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	})
}

// Start starts a command in the group.
func (g *Group) Start(cmd *exec.Cmd) error {
	if g.unified {
		dir, err := os.Open(filepath.Join(g.cpu, commands))
		if err != nil {
			return err
		}
		defer dir.Close()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		return cmd.Start()
	}
	// A shell enters the group and becomes the command.
	enter := fmt.Sprintf(`echo $$ >%[1]s/%[3]s/cgroup.procs && echo $$ >%[2]s/%[3]s/cgroup.procs && exec "$0" "$@"`, g.cpu, g.memory, commands)
	cmd.Args = append([]string{"sh", "-c", enter, cmd.Path}, cmd.Args[1:]...)
	sh, err := exec.LookPath("sh")
	if err != nil {
		return err
	}
	cmd.Path = sh
	return cmd.Start()
}

// Measure tells what is used in the group while f runs.
func (g *Group) Measure(f func() error) (Usage, error) {
	before, err := g.times()
	if err != nil {
		return Usage{}, err
	}
	peak, stop := g.watch()
	started := time.Now()
	err = f()
	wall := time.Since(started)
	stop()
	after, timesErr := g.times()
	return Usage{Wall: wall, User: after[0] - before[0], System: after[1] - before[1], Memory: peak.all, Own: peak.own}, errors.Join(err, timesErr)
}

// memory is what processes have in memory, in bytes: all of them, and those that run the group's programs.
type memory struct{ all, own int64 }

// watch looks at the memory until stop is called.
func (g *Group) watch() (peak *memory, stop func()) {
	peak = &memory{}
	end := make(chan struct{})
	var w sync.WaitGroup
	w.Go(func() {
		for tick := time.NewTicker(interval); ; {
			select {
			case <-end:
				tick.Stop()
				return
			case <-tick.C:
				if now, err := g.resident(); err == nil { // there may be no group yet
					peak.all, peak.own = max(peak.all, now.all), max(peak.own, now.own)
				}
			}
		}
	})
	return peak, func() { close(end); w.Wait() }
}

// resident is what the processes have in memory that no file gives back. The group's own statistics would be cheaper, but they are
// up to two seconds old.
func (g *Group) resident() (total memory, err error) {
	return total, g.processes(func(pid int) error {
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return nil // it has ended
		}
		own := slices.Contains(g.programs, filepath.Base(program))
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil // it has ended
		}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(line, ":")
			if name != "RssAnon" && name != "RssShmem" {
				continue
			}
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return err
			}
			total.all += kilobytes << 10
			if own {
				total.own += kilobytes << 10
			}
		}
		return nil
	})
}

// processes calls f for each process of the group and those below it.
func (g *Group) processes(f func(pid int) error) error {
	return filepath.WalkDir(g.memory, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a group below, meanwhile
		}
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // its group has ended
		}
		for _, line := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				return err
			}
			if err := f(pid); err != nil {
				return err
			}
		}
		return nil
	})
}

// times are user and system time.
func (g *Group) times() (t [2]time.Duration, err error) {
	if !g.unified {
		for i, name := range []string{"cpuacct.usage_user", "cpuacct.usage_sys"} {
			data, err := os.ReadFile(filepath.Join(g.cpu, name))
			if err != nil {
				return t, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
			if err != nil {
				return t, err
			}
			t[i] = time.Duration(n)
		}
		return t, nil
	}
	for i, key := range []string{"user_usec", "system_usec"} {
		n, err := field(filepath.Join(g.cpu, "cpu.stat"), key)
		if err != nil {
			return t, err
		}
		t[i] = time.Duration(n) * time.Microsecond
	}
	return t, nil
}

var errNoField = errors.New("there is no such field")

// field reads a number from a file of lines "KEY NUMBER".
func field(path, key string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == key {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: %s: %w", path, key, errNoField)
}
