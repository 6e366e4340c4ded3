package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Command is what is run: in the root and the working directory that this process has then, in a
// session of its own, with the standard streams of this process.
type Command struct {
	Args   []string
	Env    []string
	UID    uint32
	GID    uint32
	Groups []uint32
	// Capabilities is the bounding set of the command: bit n stands for capability n of <linux/capability.h>.
	Capabilities uint64
	Rlimits      []Rlimit
	// Scoped keeps the command from sending signals to processes, and from connecting to abstract sockets, that it
	// has not started or opened, where the kernel can do that (see scope).
	Scoped bool
}

// Rlimit is a resource limit by its number in <asm/resource.h>.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// start executes the command with the user, the capabilities and the limits that it is to
// have. A *startError says that its program is missing or not executable.
//
// Credentials, the session keyring among them, belong to threads. They are changed on one thread
// that does nothing else; the command inherits them from there, while the rest of this process
// keeps its own.
func start(c *Command) (pid int, err error) {
	// stdin of the command; its stdout and stderr are the pipes of the builder, which it
	// must be able to open by name (/dev/stdout).
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Fchown(fd, int(c.UID), int(c.GID)); err != nil && !errors.Is(err, unix.EINVAL) {
			return 0, &StepError{"giving the output to the user", err}
		}
	}
	unix.Umask(0o022)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not to be used again
		pid, err = startHere(c)
		close(done)
		select {} // Pdeathsig is about the death of this thread
	}()
	<-done
	return pid, err
}

// startHere starts the command from the calling thread.
func startHere(c *Command) (int, error) {
	if err := leaveKeyring(); err != nil {
		return 0, &StepError{"leaving the builder's keyring", err}
	}
	if c.Scoped {
		if err := scope(); err != nil {
			return 0, &StepError{"keeping the process from others", err}
		}
	}
	if err := lower(c); err != nil {
		return 0, &StepError{"lowering privileges", err}
	}
	return execute(c)
}

// leaveKeyring gives the calling thread, and what it starts, a session keyring of its own, where
// there are keyrings.
func leaveKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// lower gives up privileges on the calling thread.
func lower(c *Command) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	for n := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break // the kernel's last capability was the one before
		}
		if has == 0 || c.Capabilities&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d from the bounding set: %w", n, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing ambient capabilities: %w", err)
	}
	if err := setIDs(c); err != nil {
		return err
	}
	for i := range data {
		keep := uint32(c.Capabilities >> (32 * i))
		if c.UID != 0 {
			keep = 0
		}
		data[i].Permitted &= keep
		data[i].Effective = data[i].Permitted
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// setIDs sets user and groups of the calling thread alone: the functions of package syscall
// would change all threads.
func setIDs(c *Command) error {
	groups := make([]uint32, 0, len(c.Groups)+1)
	groups = append(append(groups, c.GID), c.Groups...)
	slices.Sort(groups) // as Linux lists them, whatever kernel this is
	if err := setgroups(groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("setting group %d: %w", gid, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("setting user %d: %w", uid, errno)
	}
	return nil
}

// execute looks the program up and executes it, with the credentials of the calling thread.
func execute(c *Command) (int, error) {
	path, err := lookPath(c.Args[0], c.Env, executable)
	if err != nil {
		return 0, &startError{err}
	}
	attr := &syscall.ProcAttr{
		Env:   c.Env,
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Setsid:    true,
			Pdeathsig: syscall.SIGKILL,
			// With limits to set, the process stops at its first instruction.
			Ptrace: len(c.Rlimits) > 0,
		},
	}
	pid, err := syscall.ForkExec(path, c.Args, attr)
	if errors.Is(err, unix.EPERM) && attr.Sys.Ptrace {
		pid, err = forkTraceable(path, c.Args, attr)
	}
	if err != nil {
		return 0, &startError{fmt.Errorf("exec: %q: %w", path, err)}
	}
	if len(c.Rlimits) > 0 {
		if err := limit(pid, c.Rlimits); err != nil {
			return 0, &StepError{"setting resource limits", err}
		}
	}
	return pid, nil
}

// forkTraceable is for gVisor, which unlike Linux lets no process be traced by its parent that has
// inherited its memory from one that cannot be traced. Nothing else runs yet that could trace this one.
func forkTraceable(path string, args []string, attr *syscall.ProcAttr) (int, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(path, args, attr)
	return pid, errors.Join(err, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// executable checks, as the command's user, that path is a file to execute.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			return pathErr.Err
		}
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("is a directory: %w", os.ErrPermission)
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, 0)
}

// limit sets the limits of a process that has stopped at its exec, and lets it go on. They
// cannot be set before: this process, a Go program, could not live with many of them.
func limit(pid int, limits []Rlimit) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	if !status.Stopped() {
		return fmt.Errorf("the command ended before it ran, with status %#x", uint32(status))
	}
	for _, l := range limits {
		if err := unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			return fmt.Errorf("limit %d: %w", l.Resource, err)
		}
	}
	return unix.PtraceDetach(pid)
}

func setgroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
