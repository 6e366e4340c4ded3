package supervisor

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Reaper runs the command and ends processes. In a PID namespace of its own it is process 1, which
// every orphan becomes a child of; without one it becomes a subreaper and looks for its
// descendants in the pod's /proc.
type Reaper struct {
	mu       sync.Mutex
	canceled bool
	command  int // 0 when it is not running

	alone bool
	proc  int // the pod's /proc, opened
}

func (r *Reaper) openProc() (err error) {
	r.proc, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// Run runs the command, waits for its end and ends everything that it leaves behind. It can be
// called once. alone says that this process is the first one of a PID namespace of its own.
func (r *Reaper) Run(c *Command, alone bool) (Report, error) {
	if err := r.adopt(alone); err != nil {
		return Report{}, &StepError{"becoming the parent of orphans", err}
	}
	pid, err := start(c)
	var notStarted *startError
	if errors.As(err, &notStarted) {
		return Report{StartError: notStarted.Error(), Code: notStarted.code()}, nil
	}
	if err != nil {
		return Report{}, err
	}
	status, err := r.wait(pid)
	if err != nil {
		return Report{}, &StepError{"waiting for the command", err}
	}
	if status.Signaled() {
		return Report{Code: 128 + int(status.Signal()), Signal: status.Signal()}, nil
	}
	return Report{Code: status.ExitStatus()}, nil
}

// adopt makes this process the parent of its orphaned descendants.
func (r *Reaper) adopt(alone bool) error {
	r.alone = alone
	if alone {
		return nil
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// cancel kills the command, or the one that would have been started.
func (r *Reaper) cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.canceled = true
	if r.command != 0 {
		_ = unix.Kill(r.command, unix.SIGKILL) // at worst it has just ended
	}
}

// wait waits for the command pid, then kills everything that is left and waits for it too.
func (r *Reaper) wait(pid int) (unix.WaitStatus, error) {
	r.mu.Lock()
	r.command = pid
	canceled := r.canceled
	r.mu.Unlock()
	if canceled {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	var status unix.WaitStatus
	for {
		ended, err := waitOne(&status)
		if err != nil {
			return status, err
		}
		if ended == pid && (status.Exited() || status.Signaled()) {
			break
		}
	}
	r.mu.Lock()
	r.command = 0
	r.mu.Unlock()
	return status, r.killRest()
}

func waitOne(status *unix.WaitStatus) (int, error) {
	for {
		pid, err := unix.Wait4(-1, status, unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return pid, err
		}
	}
}

func (r *Reaper) killRest() error {
	for {
		if err := r.killOnce(); err != nil {
			return err
		}
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case pid == 0:
			time.Sleep(time.Millisecond) // killed, but not gone yet
		}
	}
}

// killOnce sends SIGKILL to everything below this process.
func (r *Reaper) killOnce() error {
	if r.alone {
		if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	}
	pids, err := descendants(r.proc, unix.Getpid())
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// descendants lists the processes below pid, by the parents that proc(5) names.
func descendants(proc, pid int) ([]int, error) {
	names, err := readNames(proc)
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, name := range names {
		child, err := strconv.Atoi(name)
		if err != nil {
			continue // not a process
		}
		if parent, ok := parentPID(proc, name); ok {
			children[parent] = append(children[parent], child)
		}
	}
	var found []int
	for todo := children[pid]; len(todo) > 0; {
		next := todo[0]
		todo = append(todo[1:], children[next]...)
		found = append(found, next)
	}
	return found, nil
}

func readNames(proc int) ([]string, error) {
	fd, err := unix.Openat(proc, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "/proc")
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// parentPID reads the fourth field of /proc/PID/stat; the second is in parentheses and may
// hold anything. A process that has ended meanwhile has none.
func parentPID(proc int, pid string) (int, bool) {
	fd, err := unix.Openat(proc, pid+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	buf := make([]byte, 512)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, false
	}
	stat := string(buf[:n])
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(fields[1])
	return parent, err == nil
}
