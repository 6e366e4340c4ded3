package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// runc is the program that makes containers out of OCI specifications.
	runc = "runc"
	// pollInterval is how often files and output are looked at that announce no change.
	pollInterval = 10 * time.Millisecond
	// killGrace is how long a killed container may take to vanish.
	killGrace = 10 * time.Second
)

// container is one container of runc, with the directory that holds all that is its own.
type container struct {
	id     string
	dir    string // also the bundle of runc
	cgroup cgroup
	ctx    context.Context // ends with the container's right to run
	cancel context.CancelFunc
}

func newContainer(spec *Spec) (*container, error) {
	if err := check(spec); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(spec.Scratch, "slipway-pod-")
	if err != nil {
		return nil, err
	}
	c := &container{id: filepath.Base(dir), dir: dir}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.prepare(spec.Cgroup); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	return c, nil
}

func check(spec *Spec) error {
	switch {
	case spec.Rootfs == "":
		return errors.New("no root filesystem is given")
	case len(spec.Args) == 0:
		return errors.New("no command is given")
	case spec.HostNetwork && spec.Shape.UserNamespace:
		return errors.New("the node's network and a user namespace exclude each other")
	}
	for _, v := range spec.Volumes {
		if !filepath.IsAbs(v.Path) {
			return fmt.Errorf("volume path %q is not absolute", v.Path)
		}
		if v.Owner != 0 && spec.Shape.UserNamespace {
			return fmt.Errorf("volume %s: an owner and a user namespace exclude each other", v.Path)
		}
	}
	return nil
}

func (c *container) prepare(group string) error {
	// A user namespace's root is nobody special to the node, and must get at its files.
	if err := os.Chmod(c.dir, 0o711); err != nil {
		return err
	}
	var err error
	c.cgroup, err = newCgroup(c.id, group)
	return err
}

// remove removes all that is the container's own, when it has ended.
func (c *container) remove() error {
	c.cancel()
	return os.RemoveAll(c.dir)
}

// run makes the container's mounts, runs it to its end and gathers what it left. The calling
// thread must be in a mount namespace of its own.
func (c *container) run(spec *Spec, stdout, stderr *buffer) (Result, error) {
	mounted, err := c.mountAll(spec)
	if err != nil {
		return Result{}, err
	}
	config, err := c.specification(spec, mounted)
	if err != nil {
		return Result{}, fmt.Errorf("making the container's specification: %w", err)
	}
	if err := c.makeMountPoints(config, spec.Shape.shift()); err != nil {
		return Result{}, fmt.Errorf("making mount points: %w", err)
	}
	var before Snapshot
	if spec.DiffRoot {
		if before, err = TakeSnapshot(c.rootfs(), spec.Shape.shift()); err != nil {
			return Result{}, err
		}
	}
	if err := c.write(config); err != nil {
		return Result{}, fmt.Errorf("writing the container's specification: %w", err)
	}
	var errors io.Writer = stderr
	if spec.Stderr != nil {
		errors = io.MultiWriter(stderr, spec.Stderr)
	}
	result, err := c.execute(spec.Stdin, stdout, errors)
	if err != nil {
		return Result{}, err
	}
	if spec.DiffRoot {
		after, err := TakeSnapshot(c.rootfs(), spec.Shape.shift())
		if err != nil {
			return Result{}, err
		}
		result.RootDiff = before.Diff(after)
	}
	log, err := os.ReadFile(filepath.Join(c.files(), terminationLog))
	if err != nil {
		return Result{}, err
	}
	result.TerminationLog = string(log)
	result.Stdout, result.Stderr = stdout.String(), stderr.String()
	return result, nil
}

// execute runs the container with runc.
func (c *container) execute(stdin io.Reader, stdout, stderr io.Writer) (Result, error) {
	// --keep, because the cgroup knows who was killed for want of memory.
	cmd := c.runc(c.ctx, "run", "--keep", "--bundle", c.dir, "--pid-file", c.pidFile(), c.id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	// Passed on to the container by runc. The signal comes when the calling thread ends, which
	// it does not do before runc unless the test's process ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return c.interrupt(cmd.Process) }
	cmd.WaitDelay = killGrace
	err := cmd.Run()
	ended := time.Now()
	if _, started := c.pid(); started != nil {
		return Result{}, errors.Join(fmt.Errorf("the container could not be started: %w", err), c.delete())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Result{}, errors.Join(fmt.Errorf("running the container: %w", err), c.delete())
	}
	oom, err := c.cgroup.oomKilled()
	if err != nil {
		return Result{}, errors.Join(err, c.delete())
	}
	// Written by runc when everything is ready, immediately before the process is let go.
	pid, err := os.Stat(c.pidFile())
	if err != nil {
		return Result{}, errors.Join(err, c.delete())
	}
	return Result{ExitCode: cmd.ProcessState.ExitCode(), OOMKilled: oom, Elapsed: ended.Sub(pid.ModTime())}, c.delete()
}

// delete makes runc forget the container.
func (c *container) delete() error {
	// Also when the container is no longer wanted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), killGrace)
	defer cancel()
	out, err := c.runc(ctx, "delete", "--force", c.id).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("does not exist")) {
		return fmt.Errorf("deleting the container: %w\n%s", err, out)
	}
	return nil
}

// runc is a call of runc that keeps its state in the container's directory.
func (c *container) runc(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--root", filepath.Join(c.dir, "state"), "--log", filepath.Join(c.dir, "runc.log")}, args...)
	return exec.CommandContext(ctx, runc, args...)
}

func (c *container) pidFile() string { return filepath.Join(c.dir, "pid") }

// pid is the process id, on the node, of the container's first process. Without the file
// the process has not been started.
func (c *container) pid() (int, error) {
	data, err := os.ReadFile(c.pidFile())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// waitStarted waits until the container's process runs, or has run.
func (c *container) waitStarted(ended <-chan struct{}, timeout time.Duration) error {
	deadline := time.After(timeout)
	for {
		_, err := c.pid()
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ended:
			// What was wrong is in the result.
			return nil
		case <-deadline:
			return fmt.Errorf("the container was not started within %v", timeout)
		case <-time.After(pollInterval):
		}
	}
}

func (c *container) signal(signal syscall.Signal) error {
	pid, err := c.pid()
	if err != nil {
		return fmt.Errorf("the container has not been started: %w", err)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("sending the signal %v: %w", signal, err)
	}
	return nil
}

// kill ends the container without asking it.
func (c *container) kill() { c.cancel() }

// interrupt kills the container, from which runc then ends, or runc if there is none yet.
func (c *container) interrupt(runc *os.Process) error {
	pid, err := c.pid()
	if err != nil {
		return runc.Kill()
	}
	err = syscall.Kill(pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
