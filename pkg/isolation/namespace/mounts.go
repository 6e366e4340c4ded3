package namespace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/namespace/internal/initproc"
)

// prepareMounts writes the instructions for the process's mounts.
func (r *run) prepareMounts(ctx context.Context) error {
	for i := range r.process.Mounts {
		in := &r.process.Mounts[i]
		out := initproc.Mount{Target: in.Target, ReadOnly: in.ReadOnly, Selector: in.Selector}
		switch in.Type {
		case isolation.MountBind:
			out.Overlay = r.mounts[i].overlay
		case isolation.MountCache:
			if err := r.backend.fillCache(ctx, in); err != nil {
				return err
			}
			out.Dir = in.HostDir
		case isolation.MountTmpfs:
			out.Tmpfs = &initproc.Tmpfs{Size: in.Size}
		case isolation.MountSecret:
			out.Secret = &initproc.File{
				Path: in.Target, Data: in.Data,
				Mode: uint32(in.Mode.Perm()), UID: in.UID, GID: in.GID,
			}
		case isolation.MountSSH:
			socket, err := r.agents.Serve(r.path(r.name), in)
			if err != nil {
				return err
			}
			out.Socket = socket
		}
		r.spec.Mounts = append(r.spec.Mounts, out)
	}
	return nil
}

// fillCache gives an empty cache directory its first content. It appears at once, so that a
// build that is interrupted leaves an empty directory for the next one to fill.
func (b *Backend) fillCache(ctx context.Context, m *isolation.Mount) (err error) {
	if m.Tree == nil {
		return nil
	}
	empty, err := isEmpty(m.HostDir)
	if err != nil || !empty {
		return err
	}
	v, err := m.Tree.View(ctx)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(m.HostDir), "filling-")
	if err != nil {
		return fmt.Errorf("isolation: cache mount %s: %w", m.Target, err)
	}
	if err := b.unpacker.View(ctx, v, tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	// Unlike os.Rename, rename(2) replaces an empty directory.
	if err := unix.Rename(tmp, m.HostDir); err != nil {
		return errors.Join(fmt.Errorf("isolation: cache mount %s: %w", m.Target, err), os.RemoveAll(tmp))
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, fmt.Errorf("isolation: cache mount: %w", err)
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
