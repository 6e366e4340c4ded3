package namespace

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
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
			if err := host.FillCache(ctx, in, r.backend.unpacker.View); err != nil {
				return fmt.Errorf("isolation: cache mount %s: %w", in.Target, err)
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
