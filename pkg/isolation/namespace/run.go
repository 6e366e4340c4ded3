package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
	"github.com/slipway-build/slipway/pkg/isolation/internal/launch"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
	"github.com/slipway-build/slipway/pkg/isolation/internal/upper"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// defaultShmSize is the size of /dev/shm that Docker gives, in bytes.
const defaultShmSize = 64 << 20

// Run implements [isolation.Backend].
func (b *Backend) Run(ctx context.Context, p *isolation.Process) (*isolation.Changes, error) {
	if err := b.Check(p); err != nil {
		return nil, err
	}
	limits, err := host.Rlimits(Name, p.Ulimits, !b.mode.userNamespace && b.mode.capabilities.Has(unix.CAP_SYS_RESOURCE))
	if err != nil {
		return nil, err
	}
	r := &run{backend: b, process: p, name: "r" + b.id()}
	if err := os.Mkdir(r.path(r.name), 0o700); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	changes, err := r.do(ctx, limits)
	err = errors.Join(err, r.agents.Close())
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.path(r.name)))
	}
	return changes, nil
}

// run is one process on its way.
type run struct {
	backend *Backend
	process *isolation.Process
	name    string // of its directory in that of the backend
	spec    initproc.Spec
	// overlays are the overlay mounts: of the root, and of the bind mounts by their
	// position.
	root   *stack
	mounts map[int]*stack
	agents host.Agents
}

// stack is a tree that is mounted with an upper directory over it.
type stack struct {
	tree    *tree.Tree
	overlay *initproc.Overlay
}

func (r *run) path(name string) string { return filepath.Join(r.backend.dir, name) }

func (r *run) do(ctx context.Context, limits []supervisor.Rlimit) (*isolation.Changes, error) {
	if err := r.prepare(ctx, limits); err != nil {
		return nil, err
	}
	flags := uintptr(0)
	if r.process.Network == isolation.NetworkNone {
		flags |= unix.CLONE_NEWNET
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // started, it could be faster than its end
	}
	if err := r.execute(ctx, flags); err != nil {
		return nil, err
	}
	return r.collect(ctx)
}

// execute runs the process in its own control group, if it asks for one.
func (r *run) execute(ctx context.Context, flags uintptr) (err error) {
	p := r.process
	group, err := host.NewCgroup(Name, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	kills := host.OOMKills()
	report, err := spawn(ctx, r.backend.mode, &r.spec, &launch.Options{
		Dir: r.backend.dir, Attr: syscall.SysProcAttr{Cloneflags: flags}, Started: group.Add,
		Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr,
	})
	if err != nil {
		return group.Explain(p.Args, err)
	}
	return host.Outcome(report, p.Args, host.OOMKills() > kills || group.OOMKills() > 0)
}

// prepare unpacks what is needed and writes the instructions.
func (r *run) prepare(ctx context.Context, limits []supervisor.Rlimit) error {
	p, b := r.process, r.backend
	g, gctx := errgroup.WithContext(ctx)
	var err error
	if r.root, err = r.stack(gctx, g, p.Root, 0); err != nil {
		return errors.Join(err, g.Wait())
	}
	r.mounts = map[int]*stack{}
	for i := range p.Mounts {
		if p.Mounts[i].Type != isolation.MountBind {
			continue
		}
		if r.mounts[i], err = r.stack(gctx, g, p.Mounts[i].Tree, i+1); err != nil {
			return errors.Join(err, g.Wait())
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s := &r.spec
	s.FreshProc, s.Xattrs = b.mode.freshProc, b.mode.xattrs
	s.Root = *r.root.overlay
	s.Scratch = scratch
	s.ShmSize = p.ShmSize
	if s.ShmSize == 0 {
		s.ShmSize = defaultShmSize
	}
	s.Loopback = p.Network == isolation.NetworkNone
	s.Cwd, s.Unmasked, s.NoDevices = p.Cwd, p.Insecure, !p.Insecure
	s.Command = supervisor.Command{
		Args: p.Args, Env: p.Env,
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.Groups,
		Capabilities: uint64(r.capabilities()), Rlimits: limits, Scoped: true,
	}
	if err := r.files(); err != nil {
		return err
	}
	return r.prepareMounts(ctx)
}

// capabilities is the bounding set of the process. The capabilities that a user namespace of its
// own gives reach no further than the namespace.
func (r *run) capabilities() isolation.Capabilities {
	m := r.backend.mode
	switch {
	case !r.process.Insecure:
		return m.capabilities & isolation.DefaultCapabilities()
	case m.userNamespace:
		return ^isolation.Capabilities(0)
	}
	return m.capabilities
}

// files renders the files of /etc that are provided.
func (r *run) files() error {
	r.spec.Hostname = r.process.Hostname
	if r.spec.Hostname == "" {
		r.spec.Hostname = isolation.DefaultHostname
	}
	files, err := host.NetworkFiles(r.spec.Hostname, r.process.Hosts)
	if err != nil {
		return err
	}
	for _, f := range files {
		r.spec.Files = append(r.spec.Files, initproc.File{Path: f.Path, Data: f.Data, Mode: 0o644})
	}
	return nil
}

// stack starts to unpack t in g and makes the directories of the n-th overlay mount over it.
func (r *run) stack(ctx context.Context, g *errgroup.Group, t *tree.Tree, n int) (*stack, error) {
	o, err := makeOverlay(r.backend.dir, r.name, n)
	if err != nil {
		return nil, err
	}
	g.Go(func() error {
		view, err := t.View(ctx)
		if err != nil {
			return err
		}
		if err := r.backend.unpacker.Root(ctx, r.path(o.Upper), view.Root().Entry()); err != nil {
			return err
		}
		o.Lowers, err = r.backend.materialize(ctx, t)
		return err
	})
	return &stack{tree: t, overlay: o}, nil
}

// collect reads the changes of the root and of the mounts that asked for it.
func (r *run) collect(ctx context.Context) (_ *isolation.Changes, err error) {
	c := &isolation.Changes{Outputs: map[int]layer.Layer{}}
	if c.Root, err = r.changes(ctx, r.root); err != nil {
		return nil, err
	}
	for i, s := range r.mounts {
		if !r.process.Mounts[i].Output {
			if err := os.RemoveAll(r.path(s.overlay.Upper)); err != nil {
				return nil, fmt.Errorf("isolation: %w", err)
			}
			continue
		}
		if c.Outputs[i], err = r.changes(ctx, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// changes reads an upper directory as a layer, which keeps the directory.
func (r *run) changes(ctx context.Context, s *stack) (layer.Layer, error) {
	below, err := s.tree.View(ctx)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(r.path(s.overlay.Upper))
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	m := r.backend.mode
	l, err := upper.Scan(ctx, root, below, upper.Options{Xattrs: m.xattrs, NoDevices: m.noDevices})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	x, err := l.Index(ctx)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if x.Len() == 0 {
		return layer.Empty(), root.Close()
	}
	return l, r.backend.keep(l, root)
}
