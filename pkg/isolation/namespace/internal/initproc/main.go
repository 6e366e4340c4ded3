package initproc

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
)

// Main does nothing unless the process was started under [Name]; then it never returns.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	unix.Exit(run()) // at once: there is nothing to be flushed
}

// run serves one Spec. Its status only matters if no report could be written.
func run() int {
	// The capabilities, the memory (which holds the secrets) and the descriptors of this
	// process are out of the command's reach while it cannot be traced.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 1
	}
	// The builder may have been started with descriptors of others.
	if err := unix.CloseRange(SpecFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1
	}
	in := os.NewFile(SpecFD, "spec")
	out := os.NewFile(ReportFD, "report")

	var report Report
	var spec Spec
	err := gob.NewDecoder(in).Decode(&spec)
	if err == nil {
		s := &session{spec: &spec}
		go func() {
			_, _ = io.Copy(io.Discard, in) // ends when the builder closes its side
			s.cancel()
		}()
		report, err = s.serve()
	}
	if err != nil {
		report = failure(err)
	}
	if err := gob.NewEncoder(out).Encode(&report); err != nil {
		return 1
	}
	return 0
}

// stepError is a failed step of the set-up.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func failure(err error) Report {
	r := Report{Step: "reading the instructions", Error: err.Error()}
	var step *stepError
	if errors.As(err, &step) {
		r.Step, r.Error = step.step, step.err.Error()
	}
	errors.As(err, &r.Errno)
	return r
}

// session is one served Spec.
type session struct {
	spec   *Spec
	reaper reaper
	stubs  rootpath.Stubs
	frozen []int // mounts that are read-only
	host   hostDirs
}

func (s *session) cancel() { s.reaper.cancel() }

func (s *session) serve() (Report, error) {
	runtime.LockOSThread()
	steps := []struct {
		name string
		do   func() error
	}{
		{"opening the pod's /proc", s.openHost},
		{"leaving the builder's keyring", leaveKeyring},
		{"making mounts private", makePrivate},
		{StepRoot, s.mountRoot},
		{"making the working directory", s.makeCwd},
		{StepProc, s.mountProc},
		{"mounting /sys", s.mountSys},
		{"mounting /dev", s.mountDev},
		{"providing files of /etc", s.mountFiles},
		{"mounting", s.mountAll},
		{"entering the root filesystem", s.enterRoot},
		{"setting the host name", func() error { return unix.Sethostname([]byte(s.spec.Hostname)) }},
		{"setting up the loopback interface", s.loopback},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return Report{}, &stepError{step.name, err}
		}
	}
	var report Report
	if !s.spec.ProbeOnly {
		var err error
		if report, err = s.command(); err != nil {
			return Report{}, err
		}
	}
	if err := s.leave(); err != nil {
		return Report{}, &stepError{"removing mount points", err}
	}
	return report, nil
}

// command runs the command and ends everything that it leaves behind.
func (s *session) command() (Report, error) {
	if err := s.enterCwd(); err != nil {
		return Report{}, &stepError{"entering the working directory " + s.spec.Cwd, err}
	}
	if err := s.reaper.adopt(s.spec.FreshProc, s.host.proc); err != nil {
		return Report{}, &stepError{"becoming the parent of orphans", err}
	}
	pid, err := start(s.spec)
	var notStarted *isolation.ExitError
	if errors.As(err, &notStarted) {
		return Report{StartError: notStarted.Err.Error(), Code: notStarted.Code}, nil
	}
	if err != nil {
		return Report{}, err
	}
	status, err := s.reaper.wait(pid)
	if err != nil {
		return Report{}, &stepError{"waiting for the command", err}
	}
	if status.Signaled() {
		return Report{Code: 128 + int(status.Signal()), Signal: status.Signal()}, nil
	}
	return Report{Code: status.ExitStatus()}, nil
}

// hostDirs are directories outside the root that are needed after it was entered.
type hostDirs struct {
	proc   int // the pod's /proc
	memory int // a filesystem in memory for files that are provided
	files  int // how many of them there are
}

func (s *session) openHost() error {
	fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	s.host.proc = fd
	return err
}

// leaveKeyring gives the command a session keyring of its own, where there are keyrings.
func leaveKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

func (s *session) loopback() error {
	if !s.spec.Loopback {
		return nil
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(sock, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("reading its flags: %w", err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, req)
}
