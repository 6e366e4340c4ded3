package initproc

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// A process that was started under [Name] does its work here and ends. That is not left to main: this package
// imports little, and is therefore initialized before most others of the program, whose initialization takes
// many times as long as the work.
func init() { supervisor.Main(Name, Serve) } //nolint:gochecknoinits // see above

// Serve does what spec says. The calling process must be the first one of new namespaces.
func Serve(spec *Spec, r *supervisor.Reaper) (supervisor.Report, error) {
	s := &session{spec: spec, reaper: r}
	return s.serve()
}

// session is one served Spec.
type session struct {
	spec     *Spec
	reaper   *supervisor.Reaper
	stubs    rootpath.Stubs
	frozen   []frozen
	overlays []string // mount points of those that are mounted beside the root
	memory   int      // a filesystem in memory for files that are provided
	files    int      // how many of them there are
}

// frozen is a mount that is read-only, or will be.
type frozen struct {
	mount  int
	target string
}

func (s *session) serve() (supervisor.Report, error) {
	steps := []struct {
		name string
		do   func() error
	}{
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
			return supervisor.Report{}, &supervisor.StepError{Step: step.name, Err: err}
		}
	}
	var report supervisor.Report
	if !s.spec.ProbeOnly {
		var err error
		if report, err = s.command(); err != nil {
			return supervisor.Report{}, err
		}
	}
	if err := s.leave(); err != nil {
		return supervisor.Report{}, &supervisor.StepError{Step: "removing mount points", Err: err}
	}
	return report, nil
}

// command runs the command and ends everything that it leaves behind.
func (s *session) command() (supervisor.Report, error) {
	if err := s.enterCwd(); err != nil {
		return supervisor.Report{}, &supervisor.StepError{Step: "entering the working directory " + s.spec.Cwd, Err: err}
	}
	return s.reaper.Run(&s.spec.Command, s.spec.FreshProc)
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
