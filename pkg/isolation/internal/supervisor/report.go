package supervisor

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Report is what became of the instructions.
type Report struct {
	// Step and Error say what could not be set up, Step being empty for what is no part of a step;
	// Errno is the cause, if it was a system call. All empty if the command was to be started.
	Step  string
	Error string
	Errno syscall.Errno

	// StartError says why the command could not be executed; Code is then 126 or 127.
	StartError string
	Code       int            // exit code, or 128+signal
	Signal     syscall.Signal // 0 unless killed by a signal
}

// Err turns the report on a command with these arguments into the error that [isolation.Backend]
// promises. oomKilled says that meanwhile a process of the pod was killed because memory ran out.
func (r *Report) Err(args []string, oomKilled bool) error {
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

// StepError is a failed step of what comes before and after the command.
type StepError struct {
	Step string
	Err  error
}

// Error implements error.
func (e *StepError) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// failure reports err.
func failure(err error) Report {
	r := Report{Error: err.Error()}
	var step *StepError
	if errors.As(err, &step) {
		r.Step, r.Error = step.Step, step.Err.Error()
	}
	errors.As(err, &r.Errno)
	return r
}
