package inplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/child"
	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/scan"
	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/swap"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/launch"
	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Run implements [isolation.Backend]. One process runs at a time.
func (b *Backend) Run(ctx context.Context, p *isolation.Process) (*isolation.Changes, error) {
	if err := b.Check(p); err != nil {
		return nil, err
	}
	limits, err := host.Rlimits(Name, p.Ulimits, b.caps.Has(unix.CAP_SYS_RESOURCE))
	if err != nil {
		return nil, err
	}
	if _, err := p.Root.View(ctx); err != nil { // may download, so not while others wait
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("isolation: the backend is closed")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := &run{backend: b, process: p, limits: limits, dir: b.inStore(b.id("w")), sources: map[int]*source{}}
	if err := os.Mkdir(r.dir, 0o711); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	changes, err := r.do(ctx)
	if !r.stuck {
		err = errors.Join(err, b.removeAll(r.dir))
	}
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// run is one process on its way.
type run struct {
	backend *Backend
	process *isolation.Process
	limits  []supervisor.Rlimit
	dir     string // its directory in the store
	pins    *swap.Pins
	sources map[int]*source // of bind mounts, by position
	agents  host.Agents

	// stuck says that the tree could not be taken out of the root: whatever may help then is
	// left as it is.
	stuck bool

	rootFD int
	stubs  rootpath.Stubs
	placed []placement
	// anchors are open while the process runs.
	anchors []anchor
}

func (r *run) do(ctx context.Context) (_ *isolation.Changes, err error) {
	b, p := r.backend, r.process
	if err := r.makeSources(ctx); err != nil {
		return nil, err
	}
	d, err := b.materialize(ctx, p.Root)
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() {
		if !kept && !r.stuck {
			err = errors.Join(err, b.remove(d))
		}
	}()
	before := d.known
	if before == nil {
		if before, err = scan.Take(ctx, b.inStore(d.name)); err != nil {
			return nil, err
		}
	}
	b.runs++
	if err := r.inside(ctx, d); err != nil {
		return nil, err
	}
	below, err := p.Root.View(ctx)
	if err != nil {
		return nil, err
	}
	l, after, err := b.changes(ctx, b.inStore(d.name), before, below)
	if err != nil {
		return nil, err
	}
	c := &isolation.Changes{Root: l.asLayer(), Outputs: map[int]layer.Layer{}}
	d.lent = l
	if err := r.outputs(ctx, c); err != nil {
		return nil, err
	}
	if err := b.put(ctx, d, p.Root.Push(c.Root), after); err != nil {
		return nil, err
	}
	kept = true
	return c, nil
}

// inside runs the process while the tree is in the root directory. Whatever happens, the tree is
// out of it when inside returns, or the error says that it is not.
func (r *run) inside(ctx context.Context, d *treeDir) (err error) {
	b := r.backend
	points, err := b.pinnedPaths()
	if err != nil {
		return err
	}
	r.pins = swap.NewPins(points...)
	conflicts, err := b.swap.Enter(d.name, points)
	if err == nil {
		b.report(conflicts)
		err = r.dropAnchors()
		if err == nil {
			err = r.occupy(ctx)
		}
		err = errors.Join(err, r.weighAnchors(), r.checkMounts(points))
	}
	undone, undoErr := b.swap.Undo()
	if undoErr != nil {
		r.stuck = true
		return errors.Join(err, fmt.Errorf("isolation: the root directory could not be restored, files of the pod are in %s: %w", b.inStore("hold"), undoErr))
	}
	if err == nil && len(undone.Lost) > 0 {
		return b.unsupported(fmt.Sprintf("changing %q", undone.Lost), "the image has no directory there, but the pod has a volume or file mounted in it: mount it elsewhere")
	}
	return err
}

// pinnedPaths lists what stays in the root.
func (b *Backend) pinnedPaths() ([]string, error) {
	points, err := b.mountPoints()
	if err != nil {
		return nil, err
	}
	points = append(points, StoreName)
	for _, path := range b.keep {
		if rel, ok := swap.Below(b.root, path); ok && rel != "" {
			points = append(points, rel)
		}
	}
	slices.Sort(points)
	return slices.Compact(points), nil
}

// mountPoints lists what is mounted below the root.
func (b *Backend) mountPoints() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	points, err := swap.MountPoints(string(text), b.root)
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	return points, nil
}

// removeAll removes something in the store, unless there is a mount in it, which is not ours.
func (b *Backend) removeAll(path string) error {
	points, err := b.mountPoints()
	if err != nil {
		return err
	}
	for _, p := range points {
		if _, below := swap.Below(path, filepath.Join(b.root, p)); below {
			return fmt.Errorf("isolation: not removing %s: something is mounted in it", path)
		}
	}
	return state.RemoveTree(path)
}

// checkMounts makes sure that the mount points are where they were.
func (r *run) checkMounts(points []string) error {
	now, err := r.backend.pinnedPaths()
	if err != nil {
		return err
	}
	if slices.Equal(points, now) {
		return nil
	}
	return r.backend.unsupported("changing what the pod has mounted",
		fmt.Sprintf("mount points were %q and are %q", points, now))
}

// report notes conflicts, except those that every image has.
func (b *Backend) report(conflicts []swap.Conflict) {
	for _, c := range conflicts {
		switch c.Path {
		case "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys", "/dev", "/" + StoreName:
			continue
		}
		b.tell(fmt.Sprintf("RUN does not see %s of the image, because the pod has %s there; the image keeps it unchanged", c.Path, c.Mount))
	}
}

// occupy prepares the root, in which the tree is, runs the process, and cleans up.
func (r *run) occupy(ctx context.Context) (err error) {
	p := r.process
	if r.rootFD, err = unix.Open(r.backend.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	defer unix.Close(r.rootFD)
	r.stubs.Root = r.rootFD
	defer func() {
		err = errors.Join(err, r.agents.Close(), r.takeAway())
	}()
	if err := r.makeCwd(); err != nil {
		return err
	}
	if err := r.provide(); err != nil {
		return err
	}
	if err := r.mountAll(); err != nil {
		return err
	}
	if err := r.makeCwd(); err != nil { // a mount may have hidden it
		return err
	}
	spec := &child.Spec{
		Root: r.backend.root, Cwd: p.Cwd,
		Command: supervisor.Command{
			Args: p.Args, Env: p.Env,
			UID: p.User.UID, GID: p.User.GID, Groups: p.User.Groups,
			Capabilities: uint64(r.capabilities()), Rlimits: r.limits,
		},
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // started, it could be faster than its end
	}
	group, err := host.NewCgroup(Name, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	kills := host.OOMKills()
	report, err := launch.Run(ctx, spec, &launch.Options{
		Name: child.Name, Dir: "/",
		// So that nobody takes the root while processes of a builder that was killed are still
		// in it.
		Files:   []*os.File{r.backend.lock},
		Started: group.Add,
		Stdin:   p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr,
	})
	if err != nil {
		return group.Explain(p.Args, err)
	}
	if err := r.noteHostname(); err != nil {
		return err
	}
	return host.Outcome(report, p.Args, host.OOMKills() > kills || group.OOMKills() > 0)
}

// capabilities is the bounding set of the process.
func (r *run) capabilities() isolation.Capabilities {
	if r.process.Insecure {
		return r.backend.caps
	}
	return r.backend.caps & isolation.DefaultCapabilities()
}

// makeCwd makes the working directory, which becomes part of the layer.
func (r *run) makeCwd() error {
	u := r.process.User
	fd, err := rootpath.Ensure(r.rootFD, r.process.Cwd, true, func(parent int, name string, _ bool) error {
		if err := unix.Mkdirat(parent, name, 0o755); err != nil {
			return err
		}
		if err := unix.Fchmodat(parent, name, 0o755, 0); err != nil {
			return err
		}
		return unix.Fchownat(parent, name, int(u.UID), int(u.GID), unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return fmt.Errorf("isolation: making the working directory: %w", err)
	}
	return unix.Close(fd)
}

// changes returns what is different in the directory dir from the tree below as a layer, which is nil if nothing is. The contents of
// the layer are in the directory: before that is changed, it has to be settled.
func (b *Backend) changes(ctx context.Context, dir string, before *scan.Snapshot, below *tree.View) (l *lent, after *scan.Snapshot, err error) {
	if after, err = scan.Take(ctx, dir); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("isolation: %w", err)
	}
	defer func() {
		if l == nil {
			err = errors.Join(err, root.Close())
		}
	}()
	files, err := scan.Changes(ctx, root, before, after, below)
	if err != nil || files.Len() == 0 {
		return nil, after, err
	}
	l, err = lend(ctx, root, files.Len(), files.All())
	return l, after, err
}
