package namespace

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
	"github.com/slipway-build/slipway/pkg/isolation/internal/launch"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// spawn starts the first process of new namespaces, with those that o asks for beside the usual
// ones, lets it do what spec says and returns its report.
func spawn(ctx context.Context, m mode, spec *initproc.Spec, o *launch.Options) (*supervisor.Report, error) {
	o.Name = initproc.Name
	o.Attr.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if m.freshProc {
		o.Attr.Cloneflags |= unix.CLONE_NEWPID
	}
	if m.userNamespace {
		o.Attr.Cloneflags |= unix.CLONE_NEWUSER
		o.Attr.UidMappings, o.Attr.GidMappings = m.uids, m.gids
		o.Attr.GidMappingsEnableSetgroups = true
	}
	report, err := launch.Run(ctx, spec, o)
	var start *launch.StartError
	if errors.As(err, &start) {
		return nil, &namespaceError{start.Err}
	}
	return report, err
}

// namespaceError says that the namespaces could not be made.
type namespaceError struct{ err error }

func (e *namespaceError) Error() string { return "isolation: making namespaces: " + e.err.Error() }
func (e *namespaceError) Unwrap() error { return e.err }
