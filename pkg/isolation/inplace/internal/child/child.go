// Package child is the process between the builder and a RUN that has no namespaces of its own: the
// builder's own binary, executed again. It runs the command with lowered privilege, ends
// what the command left running, and reports.
//
// Its instructions come through a pipe, which the builder keeps open: when that closes, because
// the step was canceled or the builder died, everything is killed.
package child

import (
	"encoding/gob"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Name is argv[0] of the process, by which [Main] knows that it is one.
const Name = "slipway: init of RUN in place"

// The descriptors that the builder passes.
const (
	SpecFD   = 3 // read: a Spec, then nothing until the end
	ReportFD = 4 // write: a Report
)

// Spec is what the process is asked to do.
type Spec struct {
	Root   string // becomes the root directory unless it is "/"
	Args   []string
	Env    []string
	Cwd    string
	UID    uint32
	GID    uint32
	Groups []uint32
	// Capabilities is the bounding set of the command.
	Capabilities isolation.Capabilities
	Rlimits      []Rlimit
}

// Rlimit is a resource limit by its number in <asm/resource.h>.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// Report is what became of it.
type Report struct {
	// Error says what could not be set up, with Errno as the cause if it was a system
	// call.
	Error string
	Errno syscall.Errno

	// StartError says why the command could not be executed; Code is then 126 or 127.
	StartError string
	Code       int            // exit code, or 128+signal
	Signal     syscall.Signal // 0 unless killed by a signal
}

// Main does nothing unless the process was started under [Name]; then it never returns.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	unix.Exit(serve())
}

// serve serves one Spec. Its status only matters if no report could be written.
func serve() int {
	// The memory and the descriptors of this process are out of the command's reach while it
	// cannot be traced.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 1
	}
	if err := unix.CloseRange(SpecFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1
	}
	in, out := os.NewFile(SpecFD, "spec"), os.NewFile(ReportFD, "report")
	var spec Spec
	var report Report
	err := gob.NewDecoder(in).Decode(&spec)
	if err == nil {
		var r reaper
		go func() {
			_, _ = io.Copy(io.Discard, in) // ends when the builder closes its side
			r.cancel()
		}()
		report, err = r.run(&spec)
	}
	if err != nil {
		report = Report{Error: err.Error()}
		errors.As(err, &report.Errno)
	}
	if err := gob.NewEncoder(out).Encode(&report); err != nil {
		return 1
	}
	return 0
}

// run runs the command and ends everything that it leaves behind.
func (r *reaper) run(spec *Spec) (Report, error) {
	runtime.LockOSThread()
	if err := r.adopt(); err != nil {
		return Report{}, err
	}
	if err := leaveKeyring(); err != nil {
		return Report{}, err
	}
	if spec.Root != "/" {
		if err := unix.Chroot(spec.Root); err != nil {
			return Report{}, &os.PathError{Op: "chroot", Path: spec.Root, Err: err}
		}
	}
	if err := unix.Chdir(spec.Cwd); err != nil {
		return Report{}, &os.PathError{Op: "chdir", Path: spec.Cwd, Err: err}
	}
	pid, err := start(spec)
	var notStarted *isolation.ExitError
	if errors.As(err, &notStarted) {
		return Report{StartError: notStarted.Err.Error(), Code: notStarted.Code}, nil
	}
	if err != nil {
		return Report{}, err
	}
	status, err := r.wait(pid)
	if err != nil {
		return Report{}, err
	}
	if status.Signaled() {
		return Report{Code: 128 + int(status.Signal()), Signal: status.Signal()}, nil
	}
	return Report{Code: status.ExitStatus()}, nil
}

// leaveKeyring gives the command a session keyring of its own, where there are keyrings.
func leaveKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}
