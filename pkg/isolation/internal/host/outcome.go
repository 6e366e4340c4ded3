package host

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// Outcome turns the report on a command with these arguments into the error that [isolation.Backend]
// promises. oomKilled says that meanwhile a process of the pod was killed because memory ran out.
func Outcome(r *supervisor.Report, args []string, oomKilled bool) error {
	switch {
	case r.Error != "":
		return &setUpError{step: r.Step, text: r.Error, errno: r.Errno}
	case r.StartError != "":
		return &isolation.ExitError{Code: r.Code, Args: args, Err: errors.New(r.StartError)}
	case r.Code != 0:
		// A shell reports that its child was killed by SIGKILL as 137.
		oom := oomKilled && r.Code == 128+int(unix.SIGKILL)
		return &isolation.ExitError{Code: r.Code, Signal: r.Signal, OOM: oom, Args: args}
	}
	return nil
}

// setUpError says which step before the command failed.
type setUpError struct {
	step, text string
	errno      syscall.Errno
}

func (e *setUpError) Error() string {
	if e.step == "" {
		return "isolation: " + e.text
	}
	return "isolation: " + e.step + ": " + e.text
}

func (e *setUpError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}
