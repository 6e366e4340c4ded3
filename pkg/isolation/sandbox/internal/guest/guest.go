// Package guest is the first process inside the sandbox's kernel: the builder's own binary, executed
// a third time. It completes the layers whose images cannot hold everything, does with them what
// the namespace backend does (see package initproc), and then tells what is in the upper directories.
package guest

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/changes"
)

// Name is that of the process.
const Name = "slipway: init of RUN in a sandbox"

// changesFD is written to: the changes of each of Spec.Uppers, as package changes writes them.
const changesFD = 5

// Spec is what the process is asked to do. Paths are those in the kernel's root filesystem.
type Spec struct {
	Init        initproc.Spec
	Supplements []Supplement
	Uppers      []Upper
	Agents      []Agent
}

// Upper is a directory to be made for an overlay mount to write to.
type Upper struct {
	Path string // of the directory in which "upper", "work" and "root" are made
	Root File   // what the directory itself is like
	Send Send
}

// Send says when the changes in a directory are wanted.
type Send uint8

// The answers.
const (
	Never     Send = iota
	OnSuccess      // if the command ends with status 0
	WhenEnded      // however it ends, unless it is killed from outside
)

// A process that was started under [Name] does its work here and ends, before most of the program is
// initialized; as in package initproc.
func init() { supervisor.Main(Name, serve) } //nolint:gochecknoinits // see above

func serve(spec *Spec, r *supervisor.Reaper) (supervisor.Report, error) {
	unix.Umask(0)
	for i := range spec.Supplements {
		if err := spec.Supplements[i].make(); err != nil {
			return supervisor.Report{}, &supervisor.StepError{Step: "completing layers", Err: err}
		}
	}
	roots := make([]*os.Root, len(spec.Uppers))
	for i := range spec.Uppers {
		var err error
		if roots[i], err = spec.Uppers[i].make(); err != nil {
			return supervisor.Report{}, &supervisor.StepError{Step: "making directories for changes", Err: err}
		}
	}
	if err := serveAgents(spec.Agents); err != nil {
		return supervisor.Report{}, &supervisor.StepError{Step: "making sockets of ssh agents", Err: err}
	}
	began := time.Now()
	report, err := initproc.Serve(&spec.Init, r)
	if err != nil {
		return report, err
	}
	least := OnSuccess
	if report.Code != 0 || spec.Init.ProbeOnly {
		least = WhenEnded
	}
	if err := spec.send(roots, least, began); err != nil {
		return supervisor.Report{}, &supervisor.StepError{Step: "sending the changes", Err: err}
	}
	return report, nil
}

// make makes the directories, and opens that of the changes while there is a path to it.
func (u *Upper) make() (*os.Root, error) {
	for _, dir := range []string{u.Path, u.Path + "/upper", u.Path + "/work", u.Path + "/root"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := u.Root.apply(u.Path + "/upper"); err != nil {
		return nil, err
	}
	return os.OpenRoot(u.Path + "/upper")
}

// showProc shows a /proc, through which attributes of links are read, unless the root still has one:
// where mount points had to be removed, all mounts are gone.
func showProc() error {
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		return nil
	}
	if err := os.Mkdir("/proc", 0o555); err != nil {
		return err
	}
	return unix.Mount("proc", "/proc", "proc", 0, "")
}

// send sends the directories that are wanted so much.
func (s *Spec) send(roots []*os.Root, least Send, began time.Time) error {
	if err := showProc(); err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.NewFile(changesFD, "changes"), 1<<20)
	to := changes.NewSender(out)
	for i, root := range roots {
		if s.Uppers[i].Send < least {
			continue
		}
		if err := to.Send(i, root, began); err != nil {
			return fmt.Errorf("directory %d: %w", i, err)
		}
	}
	if err := to.End(); err != nil {
		return err
	}
	return out.Flush()
}
