// Package child is the process between the builder and a RUN (see package supervisor) that has no
// namespaces of its own.
package child

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// Name is that of the process, for launch.Run.
const Name = "slipway: init of RUN in place"

// Spec is what the process is asked to do.
type Spec struct {
	Root    string // becomes the root directory unless it is "/"
	Cwd     string
	Command supervisor.Command
}

// A process that was started under [Name] does its work here and ends, before most of the program is
// initialized; as in package initproc.
func init() { supervisor.Main(Name, serve) } //nolint:gochecknoinits // see above

// serve runs the command in its root.
func serve(spec *Spec, r *supervisor.Reaper) (supervisor.Report, error) {
	if spec.Root != "/" {
		if err := unix.Chroot(spec.Root); err != nil {
			return supervisor.Report{}, &os.PathError{Op: "chroot", Path: spec.Root, Err: err}
		}
	}
	if err := unix.Chdir(spec.Cwd); err != nil {
		return supervisor.Report{}, &os.PathError{Op: "chdir", Path: spec.Cwd, Err: err}
	}
	return r.Run(&spec.Command, false)
}
