// Package supervisor is the process between the builder and a RUN, whichever way the RUN is
// isolated: the builder's own binary, executed again. It runs the command with lowered privilege,
// ends what the command left running, and reports.
//
// Its instructions, which each backend has of its own, come through a pipe (as gob, because
// arguments and paths are any bytes), so that secrets are on no command line and in no
// environment. The builder keeps its end of the pipe open: when that closes, because the step was
// canceled or the builder died, everything is killed.
//
// [Main] is all that the process does; package launch is the builder's side. A package that calls Main in its own
// initialization should import little: see package initproc.
package supervisor

import (
	"encoding/gob"
	"io"
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The descriptors that the builder passes.
const (
	specFD   = 3 // read: the instructions, then nothing until the end
	reportFD = 4 // write: a Report
)

// Main does nothing unless the process was started under the given name; then it never
// returns. serve does what the instructions say, on a thread of its own, and runs the command
// with r. Its error is reported, with the step that failed if it is a [StepError].
func Main[Spec any](name string, serve func(spec *Spec, r *Reaper) (Report, error)) {
	if len(os.Args) == 0 || os.Args[0] != name {
		return
	}
	unix.Exit(answer(serve)) // at once: there is nothing to be flushed
}

// answer serves one Spec. Its status only matters if no report could be written.
func answer[Spec any](serve func(*Spec, *Reaper) (Report, error)) int {
	// The capabilities, the memory (which holds the secrets) and the descriptors of this
	// process are out of the command's reach while it cannot be traced.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 1
	}
	// The builder may have been started with descriptors of others.
	if err := unix.CloseRange(specFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1
	}
	in, out := os.NewFile(specFD, "spec"), os.NewFile(reportFD, "report")
	report, err := follow(in, serve)
	if err != nil {
		report = failure(err)
	}
	if err := gob.NewEncoder(out).Encode(&report); err != nil {
		return 1
	}
	return 0
}

// follow reads the instructions and has them served until in ends.
func follow[Spec any](in io.Reader, serve func(*Spec, *Reaper) (Report, error)) (Report, error) {
	spec := new(Spec)
	if err := gob.NewDecoder(in).Decode(spec); err != nil {
		return Report{}, &StepError{"reading the instructions", err}
	}
	var r Reaper
	go func() {
		_, _ = io.Copy(io.Discard, in) // ends when the builder closes its side
		r.cancel()
	}()
	runtime.LockOSThread()
	if err := r.openProc(); err != nil {
		return Report{}, &StepError{"opening the pod's /proc", err}
	}
	return serve(spec, &r)
}
