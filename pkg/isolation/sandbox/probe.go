package sandbox

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Probe tries whether this backend works in this pod, for which it starts a kernel. The error is an
// *isolation.UnsupportedError whose Reason says why it does not.
func Probe(ctx context.Context, st *state.Dir) error {
	b, err := New(ctx, st)
	if err != nil {
		return err
	}
	return errors.Join(b.Probe(ctx), b.Close())
}

// Probe is the function of this name for a backend that is to be used if it works: it starts a kernel that mounts everything that a
// process needs, and runs nothing.
func (b *Backend) Probe(ctx context.Context) (err error) {
	root := (*tree.Tree)(nil).Push(layer.Empty())
	r := &run{backend: b, process: &isolation.Process{Root: root, Cwd: "/"}}
	r.spec.Init.ProbeOnly = true
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prepare(ctx, nil); err != nil {
		return err
	}
	_, err = r.execute(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var already *isolation.UnsupportedError
	if errors.As(err, &already) {
		return err
	}
	return unsupported("RUN", "a kernel in user space does not start: "+err.Error())
}
