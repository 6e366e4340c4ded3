package inplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/scan"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/tree"
)

// source is what a bind mount shows: a tree, or a part of it, extracted for this process.
type source struct {
	dir    string // with the whole tree if the changes are wanted, else with what is shown
	shown  string // path of what is shown
	view   *tree.View
	before *scan.Snapshot // if changes matter
}

// makeSources extracts what bind mounts show and fills new caches, all before the exchange.
func (r *run) makeSources(ctx context.Context) error {
	for i := range r.process.Mounts {
		m := &r.process.Mounts[i]
		var err error
		switch m.Type {
		case isolation.MountBind:
			r.sources[i], err = r.bindSource(ctx, m)
		case isolation.MountCache:
			err = host.FillCache(ctx, m, extractView)
		}
		if err != nil {
			return fmt.Errorf("isolation: mount %s: %w", m.Target, err)
		}
	}
	return nil
}

func (r *run) bindSource(ctx context.Context, m *isolation.Mount) (*source, error) {
	view, err := m.Tree.View(ctx)
	if err != nil {
		return nil, err
	}
	resolved, n, err := view.Resolve(m.Selector, true)
	if err != nil {
		return nil, err
	}
	s := &source{view: view, dir: filepath.Join(r.dir, r.backend.id("b"))}
	if err := os.Mkdir(s.dir, 0o711); err != nil {
		return nil, err
	}
	s.shown = filepath.Join(s.dir, "shown")
	switch {
	case m.Output:
		s.dir = filepath.Join(s.dir, "tree")
		s.shown = filepath.Join(s.dir, resolved)
		err = os.Mkdir(s.dir, 0o711)
		if err == nil {
			err = extraction().Dir(ctx, view.Root(), s.dir)
		}
	case n.IsDir():
		err = os.Mkdir(s.shown, 0o700)
		if err == nil {
			err = extraction().Dir(ctx, n, s.shown)
		}
	default:
		err = extraction().Node(ctx, n, s.dir)
		s.shown = filepath.Join(s.dir, n.Name())
	}
	if err == nil && (m.Output || m.ReadOnly) {
		s.before, err = scan.Take(ctx, s.dir)
	}
	return s, err
}

// provide makes sure that the process has the files of the pod's network. Where they are mounted,
// as in every pod, they are given back the content that they had, should the process write
// to them.
func (r *run) provide() error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	files, err := host.NetworkFiles(name, r.process.Hosts)
	if err != nil {
		return err
	}
	for _, f := range files {
		if r.pins.Pinned(strings.TrimPrefix(f.Path, "/")) {
			err = r.protect(f.Path)
		} else {
			source := filepath.Join(r.dir, filepath.Base(f.Path))
			err = os.WriteFile(source, f.Data, 0o644)
			if err == nil {
				err = r.place(source, f.Path, false)
			}
		}
		if err != nil {
			return fmt.Errorf("isolation: providing %s: %w", f.Path, err)
		}
	}
	if r.pins.Pinned("etc/hostname") {
		return r.protect("/etc/hostname")
	}
	return nil
}

// noteHostname tells of a change to /etc/hostname, which is the image's own and yet cannot get into
// it where the pod has it mounted.
func (r *run) noteHostname() error {
	path := r.backend.root + "/etc/hostname"
	before, overwritten := r.backend.swap.Overwritten(path)
	if !overwritten {
		return nil
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	if string(now) != string(before) {
		r.backend.tell("RUN changed /etc/hostname, which the pod has mounted: the change is not in the image")
	}
	return nil
}

// protect sees to it that a mounted file has its content again afterwards, and adds the lines that
// were asked for to /etc/hosts.
func (r *run) protect(path string) error {
	full := r.backend.root + path
	data, err := os.ReadFile(full)
	if err != nil {
		return err
	}
	add := path == "/etc/hosts" && len(r.process.Hosts) > 0
	if add {
		for _, h := range r.process.Hosts {
			data = append(data, h.IP+"\t"+h.Name+"\n"...)
		}
	}
	err = unix.Access(full, unix.W_OK)
	if errors.Is(err, unix.EROFS) {
		if add {
			return r.backend.unsupported("adding hosts to /etc/hosts", "the file is the pod's, and mounted read-only")
		}
		return nil
	}
	if err != nil {
		return err
	}
	return r.backend.swap.Overwrite(full, data)
}

// mountAll puts everything into the places that the mounts name.
func (r *run) mountAll() error {
	for i := range r.process.Mounts {
		m := &r.process.Mounts[i]
		if err := r.mount(i, m); err != nil {
			return fmt.Errorf("isolation: mount %s: %w", m.Target, err)
		}
	}
	return nil
}

func (r *run) mount(i int, m *isolation.Mount) error {
	switch m.Type {
	case isolation.MountBind:
		info, err := os.Lstat(r.sources[i].shown)
		if err != nil {
			return err
		}
		return r.place(r.sources[i].shown, m.Target, info.IsDir())
	case isolation.MountCache:
		return r.mountCache(m)
	case isolation.MountTmpfs:
		dir := filepath.Join(r.dir, "tmpfs"+strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o1777); err != nil {
			return err
		}
		return r.place(dir, m.Target, true)
	case isolation.MountSecret:
		return r.mountSecret(i, m)
	case isolation.MountSSH:
		path, err := r.agents.Serve(r.dir, m)
		if err != nil {
			return err
		}
		return r.place(path, m.Target, false)
	}
	return fmt.Errorf("unknown type %d", m.Type)
}

// mountCache shows a directory of the host by a link to it: it stays where it is, so that nothing
// that happens to this build can lose it.
func (r *run) mountCache(m *isolation.Mount) error {
	dir, err := filepath.Abs(filepath.Join(m.HostDir, filepath.Clean("/"+m.Selector)))
	if err != nil {
		return err
	}
	rel, below := strings.CutPrefix(dir, strings.TrimSuffix(r.backend.root, "/")+"/")
	if !below || !r.pins.Covers(rel) {
		return r.backend.unsupported("a cache mount", "its directory "+dir+" cannot be seen by the process: use a state directory on a volume")
	}
	if m.ReadOnly {
		return r.backend.unsupported("a read-only cache mount", "nothing can be mounted, and root can write wherever it wants")
	}
	if err := r.searchable(dir); err != nil {
		return err
	}
	link := filepath.Join(r.dir, r.backend.id("c"))
	if err := os.Symlink("/"+rel, link); err != nil {
		return err
	}
	return r.place(link, m.Target, true)
}

// searchable checks that the process's user can reach dir.
func (r *run) searchable(dir string) error {
	if r.process.User.UID == 0 {
		return nil
	}
	for up := filepath.Dir(dir); up != "/"; up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return r.backend.unsupported(fmt.Sprintf("a cache mount for user %d", r.process.User.UID), up+", in which the cache is, does not let others pass")
		}
	}
	return nil
}

// shm is a filesystem in memory that pods have.
const shm = "/dev/shm"

// mountSecret keeps the secret in memory, and shows it by a link, if the pod has a filesystem for
// that; otherwise in a file that is removed before the layer is taken.
func (r *run) mountSecret(i int, m *isolation.Mount) error {
	dir := r.dir
	var fs unix.Statfs_t
	if err := unix.Statfs(r.backend.root+shm, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC && fs.Flags&unix.ST_RDONLY == 0 {
		dir = r.backend.root + shm + "/slipway-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(i)
		if err := r.backend.swap.Litter(dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o711); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, "secret"+strconv.Itoa(i))
	if err := os.WriteFile(path, m.Data, 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.Chown(path, int(m.UID), int(m.GID)), unix.Chmod(path, uint32(m.Mode.Perm()))); err != nil {
		return err
	}
	if dir == r.dir {
		return r.place(path, m.Target, false)
	}
	link := filepath.Join(r.dir, "secret"+strconv.Itoa(i))
	inside := strings.TrimPrefix(path, strings.TrimSuffix(r.backend.root, "/"))
	if err := os.Symlink(inside, link); err != nil {
		return err
	}
	return r.place(link, m.Target, false)
}

// outputs takes the changes of mounts that asked for them, and refuses those that should not
// have been made.
func (r *run) outputs(ctx context.Context, c *isolation.Changes) error {
	for i, s := range r.sources {
		m := &r.process.Mounts[i]
		switch {
		case m.Output:
			l, _, err := r.backend.changes(ctx, s.dir, s.before, s.view)
			if err != nil {
				return err
			}
			if err := l.settle(ctx, r.backend.preserve); err != nil { // the directory goes with the run
				return errors.Join(err, l.Close())
			}
			c.Outputs[i] = l.asLayer()
		case m.ReadOnly:
			now, err := scan.Take(ctx, s.dir)
			if err != nil {
				return err
			}
			if !now.Equal(s.before) {
				return r.backend.unsupported("writing to the read-only mount "+m.Target, "the process wrote to it, which can only be noticed afterwards here")
			}
		}
	}
	return nil
}
