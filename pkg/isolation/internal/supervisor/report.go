package supervisor

import (
	"errors"
	"syscall"
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
