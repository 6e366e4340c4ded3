package progress

import (
	"context"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Observe returns an executor that shows the vertices that next executes. They appear when they
// start, not when they are planned: what a build never needs is never shown.
func (d *Display) Observe(next solve.Executor) solve.Executor { return &observer{next, d} }

type observer struct {
	next    solve.Executor
	display *Display
}

// Key implements solve.Executor.
func (o *observer) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	return o.next.Key(ctx, v, in)
}

// Execute implements solve.Executor.
func (o *observer) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	shown := &client.Vertex{Digest: digest.Digest(v.ID), Name: v.Name}
	for _, i := range v.Inputs {
		shown.Inputs = append(shown.Inputs, digest.Digest(i.Vertex.ID))
	}
	if g := v.ProgressGroup; g != nil {
		shown.ProgressGroup = &pb.ProgressGroup{Id: g.ID, Name: g.Name, Weak: g.Weak}
	}
	stdout, stderr := o.display.stream(shown.Digest, 1), o.display.stream(shown.Digest, 2)
	report := &solve.Report{Stdout: stdout, Stderr: stderr}
	o.display.started(shown)
	trees, err := o.next.Execute(solve.WithReport(ctx, report), v, in)
	stdout.flush()
	stderr.flush()
	o.display.completed(shown, report.WasHit(), err)
	return trees, err
}
