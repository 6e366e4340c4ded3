package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
	"github.com/slipway-build/slipway/pkg/isolation/internal/launch"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// Probe tries whether this backend works in this pod, with its files in an empty directory of
// the caller's. The error is an *isolation.UnsupportedError whose Reason names the permission
// that is missing, as far as the kernel's answers tell.
func Probe(ctx context.Context, dir string) error {
	for _, name := range []string{emptyLower, scratch} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("isolation: %w", err)
		}
	}
	_, err := probe(ctx, dir)
	return err
}

// probe makes namespaces and mounts everything that a process needs, in the best of the ways that
// are possible here.
func probe(ctx context.Context, dir string) (mode, error) {
	m, err := inspect(dir)
	if err != nil {
		return m, err
	}
	for {
		report, err := tryMode(ctx, m, dir)
		if err == nil && report.Error == "" {
			return m, nil
		}
		if ctx.Err() != nil {
			return m, context.Cause(ctx)
		}
		switch {
		case err == nil && report.Step == initproc.StepProc && m.freshProc:
			// Parts of the pod's /proc are masked. The kernel then gives no
			// user namespace a /proc without the masks.
			m.freshProc = false
		case err == nil && report.Step == initproc.StepRoot && m.xattrs == overlay.User && !m.userNamespace:
			// The kernel or the filesystem lacks what userxattr needs.
			m.xattrs = overlay.Trusted
		default:
			return m, &isolation.UnsupportedError{Backend: Name, What: "RUN", Reason: explain(m, report, err)}
		}
	}
}

func tryMode(ctx context.Context, m mode, dir string) (*supervisor.Report, error) {
	run, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(run)
	spec := initproc.Spec{
		ProbeOnly: true, FreshProc: m.freshProc, Xattrs: m.xattrs,
		Hostname: isolation.DefaultHostname, Cwd: "/", ShmSize: defaultShmSize,
		Scratch: scratch,
	}
	o, err := makeOverlay(dir, filepath.Base(run), 0)
	if err != nil {
		return nil, err
	}
	o.Lowers = []string{emptyLower}
	spec.Root = *o
	return spawn(ctx, m, &spec, &launch.Options{Dir: dir})
}

// explain says in words what failed and what the pod would have to allow.
func explain(m mode, report *supervisor.Report, err error) string {
	var making *namespaceError
	switch {
	case errors.As(err, &making):
		return "no namespaces can be made (" + making.err.Error() + "): " + explainUnshare(m, making.err)
	case err != nil:
		return err.Error()
	}
	text := report.Step + " failed: " + report.Error
	switch {
	case report.Errno == unix.ENOSYS:
		return text + ": Linux 5.12 or later is needed"
	case report.Errno == unix.EACCES:
		return text + ": AppArmor or SELinux denies mounting; the pod needs appArmorProfile.type: Unconfined"
	case report.Step == initproc.StepRoot && report.Errno == unix.EINVAL:
		return text + ": the state directory must lie on a volume (emptyDir will do), not on the container's own overlay filesystem"
	case report.Errno == unix.EPERM:
		return text + ": " + seccompHint()
	}
	return text
}

func explainUnshare(m mode, err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "the limit in /proc/sys/user/max_user_namespaces of the node is reached"
	case errors.Is(err, unix.EINVAL):
		return "the kernel lacks user namespaces"
	case !m.userNamespace:
		return seccompHint()
	}
	var missing []string
	for _, c := range []struct {
		n    int
		name string
	}{{unix.CAP_SETUID, "SETUID"}, {unix.CAP_SETGID, "SETGID"}, {unix.CAP_SETFCAP, "SETFCAP"}} {
		if !m.capabilities.Has(c.n) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return "the container lacks the capabilities " + strings.Join(missing, ", ") + ", which mapping users needs (or else SYS_ADMIN)"
	}
	return seccompHint()
}

// seccompHint names the permission that is missing when a system call is refused although
// the capabilities are there.
func seccompHint() string {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil && strings.Contains(string(status), "\nSeccomp:\t2\n") {
		return "the container's seccomp profile forbids it; the pod needs seccompProfile.type: Unconfined"
	}
	return "AppArmor or a sysctl of the node (kernel.apparmor_restrict_unprivileged_userns, kernel.unprivileged_userns_clone) forbids it"
}
