package sandbox

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
	"github.com/slipway-build/slipway/pkg/isolation/internal/launch"
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/guest"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/receiver"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/sentry"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// defaultShmSize is the size of /dev/shm that Docker gives, in bytes.
const defaultShmSize = 64 << 20

// Run implements [isolation.Backend].
func (b *Backend) Run(ctx context.Context, p *isolation.Process) (_ *isolation.Changes, err error) {
	if err := b.Check(p); err != nil {
		return nil, err
	}
	limits, err := host.Rlimits(Name, p.Ulimits, true)
	if err != nil {
		return nil, err
	}
	r := &run{backend: b, process: p}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prepare(ctx, limits); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // started, it could be faster than its end
	}
	return r.execute(ctx)
}

// run is one process on its way.
type run struct {
	backend *Backend
	process *isolation.Process
	spec    guest.Spec
	stacks  []*stack
	images  []*os.File
	caches  []*cache
	agents  agents
	lacking []string // see isolation.ExitError
}

// stack is a tree that is mounted with an upper directory over it.
type stack struct {
	tree    *tree.Tree
	mount   int   // position in Process.Mounts, -1 for the root
	again   []int // further positions at which it is mounted
	send    guest.Send
	cache   *cache // what it is kept in; nil if it is no cache mount
	root    *layer.Entry
	lowers  []string // directories, topmost first
	overlay initproc.Overlay
}

// prepare makes the images that are needed and writes the instructions.
func (r *run) prepare(ctx context.Context, limits []supervisor.Rlimit) error {
	p := r.process
	r.stacks = []*stack{{tree: p.Root, mount: -1, send: guest.OnSuccess}}
	for i := range p.Mounts {
		s, err := r.stack(ctx, i)
		if err != nil {
			return err
		}
		if s != nil {
			r.stacks = append(r.stacks, s)
		}
	}
	most := max(1, sentry.MaxImages/len(r.stacks))
	g, gctx := errgroup.WithContext(ctx)
	for _, s := range r.stacks {
		g.Go(func() (err error) {
			view, err := s.tree.View(gctx)
			if err != nil {
				return err
			}
			s.root = view.Root().Entry()
			if s.cache != nil {
				s.lowers = []string{s.cache.image}
				return nil
			}
			s.lowers, err = r.backend.lowers.Stack(gctx, s.tree, most)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, s := range r.stacks {
		if err := r.place(i, s); err != nil {
			return err
		}
	}
	return r.instruct(limits)
}

// stack is what the i-th mount shows; nil if that is no tree.
func (r *run) stack(ctx context.Context, i int) (*stack, error) {
	switch m := &r.process.Mounts[i]; m.Type {
	case isolation.MountBind:
		s := &stack{tree: m.Tree, mount: i}
		if m.Output {
			s.send = guest.OnSuccess
		}
		return s, nil
	case isolation.MountCache:
		return r.cacheStack(ctx, i)
	}
	return nil, nil
}

// cacheStack is what the i-th mount, that of a cache, shows. A cache that is mounted twice is one.
func (r *run) cacheStack(ctx context.Context, i int) (*stack, error) {
	m := &r.process.Mounts[i]
	send := guest.WhenEnded
	if m.ReadOnly {
		send = guest.Never
	}
	for _, s := range r.stacks {
		if s.cache != nil && r.process.Mounts[s.mount].HostDir == m.HostDir {
			s.send = max(s.send, send)
			s.again = append(s.again, i)
			return nil, nil
		}
	}
	c, t, err := r.backend.openCache(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("isolation: cache mount %s: %w", m.Target, err)
	}
	r.caches = append(r.caches, c)
	return &stack{tree: t, mount: i, cache: c, send: send}, nil
}

// place says where the i-th stack lies in the kernel.
func (r *run) place(i int, s *stack) error {
	dir := sentry.UpperDir + "/" + strconv.Itoa(i)
	// Times of access tell copies from new files (see package changes): nothing else may change them.
	s.overlay = initproc.Overlay{Flags: unix.MS_NOATIME, Upper: dir + "/upper", Work: dir + "/work", Mountpoint: dir + "/root"}
	for _, name := range s.lowers {
		image, err := r.image(r.backend.path(name))
		if err != nil {
			return err
		}
		s.overlay.Lowers = append(s.overlay.Lowers, image...)
	}
	if len(s.lowers) == 0 {
		s.overlay.Lowers = []string{"/tmp"} // an empty directory
	}
	r.spec.Uppers = append(r.spec.Uppers, guest.Upper{Path: dir, Root: file("", s.root), Send: s.send})
	return nil
}

// image opens the image in the directory of a layer, and returns the lower directories that it gives: one,
// or two with its supplement.
func (r *run) image(dir string) ([]string, error) {
	if len(r.images) == sentry.MaxImages {
		return nil, unsupported(fmt.Sprintf("RUN with more than %d mounts", sentry.MaxImages), "its kernel has no room for more files")
	}
	f, err := os.Open(filepath.Join(dir, imageName))
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	n := strconv.Itoa(len(r.images))
	r.images = append(r.images, f)
	at := sentry.ImagesDir + "/" + n
	files, err := readSupplement(dir)
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	if len(files) == 0 {
		return []string{at}, nil
	}
	over := sentry.UpperDir + "/s" + n
	r.spec.Supplements = append(r.spec.Supplements, guest.Supplement{Image: at, Path: over, Files: files})
	return []string{over, at}, nil
}

// close gives back what was opened for the kernel.
func (r *run) close() error {
	for _, f := range r.images {
		_ = f.Close() // was only read
	}
	errs := []error{r.agents.close()}
	for _, c := range r.caches {
		errs = append(errs, c.close(r.backend))
	}
	return errors.Join(errs...)
}

// instruct writes the instructions for the first process in the kernel.
func (r *run) instruct(limits []supervisor.Rlimit) error {
	p, s := r.process, &r.spec.Init
	s.Sentry, s.FreshProc, s.Unmasked = true, true, true
	s.Xattrs = overlay.Trusted
	s.Root = r.stacks[0].overlay
	s.Scratch = "/tmp"
	if s.ShmSize = p.ShmSize; s.ShmSize == 0 {
		s.ShmSize = defaultShmSize
	}
	s.Cwd = p.Cwd
	s.Command = supervisor.Command{
		Args: p.Args, Env: p.Env,
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.Groups,
		Capabilities: uint64(isolation.DefaultCapabilities()), Rlimits: limits,
	}
	if p.Insecure {
		s.Command.Capabilities = ^uint64(0)
	}
	if s.Hostname = p.Hostname; s.Hostname == "" {
		s.Hostname = isolation.DefaultHostname
	}
	files, err := host.NetworkFiles(s.Hostname, p.Hosts)
	if err != nil {
		return err
	}
	for _, f := range files {
		s.Files = append(s.Files, initproc.File{Path: f.Path, Data: f.Data, Mode: 0o644})
	}
	r.mounts()
	return nil
}

// mounts writes the instructions for the process's mounts.
func (r *run) mounts() {
	overlays := map[int]*initproc.Overlay{}
	for _, s := range r.stacks {
		for _, mount := range append(s.again, s.mount) {
			overlays[mount] = &s.overlay
		}
	}
	for i := range r.process.Mounts {
		in := &r.process.Mounts[i]
		out := initproc.Mount{Target: in.Target, ReadOnly: in.ReadOnly, Selector: in.Selector}
		switch in.Type {
		case isolation.MountBind, isolation.MountCache:
			out.Overlay = overlays[i]
		case isolation.MountSSH:
			out.Socket = r.agent(in)
		case isolation.MountTmpfs:
			out.Tmpfs = &initproc.Tmpfs{Size: in.Size}
		case isolation.MountSecret:
			out.Secret = &initproc.File{
				Path: in.Target, Data: in.Data,
				Mode: uint32(in.Mode.Perm()), UID: in.UID, GID: in.GID,
			}
		}
		r.spec.Init.Mounts = append(r.spec.Init.Mounts, out)
	}
}

// execute runs a kernel with the process, and receives what it changed.
func (r *run) execute(ctx context.Context) (*isolation.Changes, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	defer from.Close()
	var received *isolation.Changes
	var receiveErr error
	var receiving sync.WaitGroup
	receiving.Go(func() {
		received, receiveErr = r.receive(ctx, receiver.New(from))
		_ = from.Close() // what would come is not read
	})
	kills := host.OOMKills()
	report, err := r.spawn(ctx, to)
	_ = to.Close() // at the latest
	receiving.Wait()
	oom := host.OOMKills() > kills
	if err != nil {
		if oom && ctx.Err() == nil {
			// The memory of the process is the kernel's, which was killed in its place.
			return nil, &isolation.ExitError{Code: 128 + int(unix.SIGKILL), Signal: unix.SIGKILL, OOM: true, Args: r.process.Args}
		}
		return nil, err
	}
	err = host.Outcome(report, r.process.Args, oom)
	var exit *isolation.ExitError
	if errors.As(err, &exit) {
		exit.Lacking = r.lacking
	}
	switch {
	case report.Error == "":
		err = errors.Join(err, receiveErr)
	case receiveErr != nil && !errors.Is(receiveErr, io.ErrUnexpectedEOF):
		err = fmt.Errorf("isolation: %w", receiveErr) // which was the reason why nothing more could be sent
	}
	if err == nil && received.Root == nil && !r.spec.Init.ProbeOnly {
		err = errors.New("isolation: the sandbox did not tell what changed")
	}
	if err != nil {
		return nil, err
	}
	return received, nil
}

// receive reads the changes of the root and of the mounts that asked for it.
func (r *run) receive(ctx context.Context, from *receiver.Receiver) (*isolation.Changes, error) {
	c := &isolation.Changes{Outputs: map[int]layer.Layer{}}
	for {
		n, more, err := from.Next()
		if err != nil || !more {
			return c, err
		}
		if n < 0 || n >= len(r.stacks) {
			return nil, fmt.Errorf("receiving the changes: there is no directory %d", n)
		}
		s := r.stacks[n]
		below, err := s.tree.View(ctx)
		if err != nil {
			return nil, err
		}
		spool, err := r.backend.spool()
		if err != nil {
			return nil, err
		}
		l, err := from.Receive(ctx, below, spool)
		if err != nil {
			return nil, errors.Join(err, spool.Close())
		}
		if s.cache != nil {
			if err := errors.Join(s.cache.save(ctx, l), spool.Close()); err != nil {
				return nil, fmt.Errorf("isolation: cache mount %s: %w", r.process.Mounts[s.mount].Target, err)
			}
			continue
		}
		r.backend.keep(spool)
		if s.mount < 0 {
			c.Root = l
		} else {
			c.Outputs[s.mount] = l
		}
	}
}

// spool makes a file without a name.
func (b *Backend) spool() (*os.File, error) {
	f, err := b.state.TempFile()
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// keep keeps a file open until the backend is closed.
func (b *Backend) keep(f *os.File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spools = append(b.spools, f)
}

// spawn runs a kernel that writes the changes to the given file.
func (r *run) spawn(ctx context.Context, changesTo *os.File) (_ *supervisor.Report, err error) {
	root, err := os.Open(r.backend.root)
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	defer root.Close()
	upper, err := r.backend.spool()
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	defer upper.Close()
	if err := r.agents.open(); err != nil {
		return nil, err
	}
	configFrom, configTo, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	defer configFrom.Close()
	defer configTo.Close()
	p := r.process
	network := p.Network != isolation.NetworkNone
	name := "k" + r.backend.id()
	report, err := launch.Run(ctx, &r.spec, &launch.Options{
		Name: sentry.Name, Dir: r.backend.dir,
		Files: sentry.Files(changesTo, configFrom, root, upper, r.images, r.agents.theirs),
		Started: func(int) error {
			filter, err := r.backend.filter(network)
			if err != nil {
				return fmt.Errorf("isolation: %w", err)
			}
			return errors.Join(
				gob.NewEncoder(configTo).Encode(&sentry.Config{
					GuestName: guest.Name, Hostname: r.spec.Init.Hostname, Images: len(r.images), Agents: r.agents.theirs != nil,
					Network: network, Filter: filter, Socket: name, Log: name + ".log",
				}),
				configTo.Close(), changesTo.Close(),
			)
		},
		Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr,
	})
	reapOrphans()
	if err != nil && ctx.Err() == nil {
		return nil, r.backend.explain(err, name+".log")
	}
	said, logErr := r.backend.takeLog(name + ".log")
	r.lacking, _ = sentry.Lacking(said)
	return report, errors.Join(err, logErr)
}

// maxLog is how much of what a kernel wrote is told, in bytes.
const maxLog = 2000

// explain adds to the error of a kernel that ended before its time what it wrote.
func (b *Backend) explain(err error, name string) error {
	if _, statErr := os.Stat(b.path(name)); errors.Is(statErr, os.ErrNotExist) {
		return fmt.Errorf("the sandbox's kernel did not start: %w", err)
	}
	said, readErr := b.takeLog(name)
	_, text := sentry.Lacking(said)
	if text = strings.TrimSpace(text); text != "" {
		err = fmt.Errorf("the sandbox's kernel ended: %s: %w", text[:min(len(text), maxLog)], err)
	}
	return errors.Join(err, readErr)
}

// takeLog gives what a kernel wrote, and removes the file; "" if there is none.
func (b *Backend) takeLog(name string) (string, error) {
	said, err := os.ReadFile(b.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err := errors.Join(err, os.Remove(b.path(name))); err != nil {
		return "", fmt.Errorf("isolation: %w", err)
	}
	return string(said), nil
}
