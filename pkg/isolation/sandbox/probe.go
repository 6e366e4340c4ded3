package sandbox

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// probe starts a kernel that mounts everything that a process needs, and runs nothing.
func (b *Backend) probe(ctx context.Context) error {
	if err := checkArchitecture(); err != nil {
		return err
	}
	var said bytes.Buffer
	root := (*tree.Tree)(nil).Push(layer.Empty())
	r := &run{backend: b, process: &isolation.Process{Root: root, Cwd: "/", Stderr: &said}}
	r.spec.Init.ProbeOnly = true
	defer r.closeImages()
	if err := r.prepare(ctx, nil); err != nil {
		return err
	}
	_, err := r.execute(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var already *isolation.UnsupportedError
	if errors.As(err, &already) {
		return err
	}
	reason := err.Error()
	if s := strings.TrimSpace(said.String()); s != "" {
		reason = s
	}
	return unsupported("RUN", "a kernel in user space does not start: "+reason)
}
