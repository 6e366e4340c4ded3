package build

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// furtherTargets are the graphs of targets that are only built.
func (s *session) furtherTargets(ctx context.Context) ([]*frontend.Result, error) {
	var graphs []*frontend.Result
	for _, target := range s.FurtherTargets {
		o := s.plan.frontend
		o.Target = target
		graph, err := frontend.Build(ctx, o, s.solver, s.images, nil)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", target, err)
		}
		graphs = append(graphs, graph)
	}
	return graphs, nil
}

// solveAll executes the graphs of all platforms, in parallel, and gives the trees of r's.
func solveAll(ctx context.Context, solver *solve.Solver, r *frontend.Result, further ...*frontend.Result) ([]*tree.Tree, error) {
	trees := make([]*tree.Tree, len(r.Platforms))
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range further {
		for _, root := range roots(f) {
			g.Go(func() error {
				_, err := solver.Solve(ctx, root)
				return err
			})
		}
	}
	for i, p := range r.Platforms {
		if p.Root == nil {
			continue
		}
		g.Go(func() (err error) {
			trees[i], err = solver.Solve(ctx, *p.Root)
			return err
		})
	}
	return trees, g.Wait()
}

// assemble makes the image.
func (s *session) assemble(ctx context.Context, o image.Options, r *frontend.Result, products []product) (built *image.Built, err error) {
	spec := image.Spec{Options: withEpoch(o, r), Index: r.Index}
	spec.Now = s.now
	for i, p := range r.Platforms {
		spec.Platforms = append(spec.Platforms, image.Platform{
			Platform: v1.Platform{
				OS: p.Platform.OS, Architecture: p.Platform.Architecture, Variant: p.Platform.Variant,
				OSVersion: p.Platform.OSVersion, OSFeatures: p.Platform.OSFeatures,
			},
			Config: p.Config, Base: p.BaseConfig, Tree: products[i].tree, Info: products[i].info,
		})
	}
	err = s.display.Step(ctx, "exporting layers", func(ctx context.Context, log io.Writer) error {
		built, err = image.Build(ctx, spec, s.writer)
		if err != nil {
			return err
		}
		for _, img := range built.Images() {
			for _, l := range img.List() {
				if !l.New {
					continue
				}
				if _, err := fmt.Fprintf(log, "layer %s %d bytes\n", l.Digest, l.Size); err != nil {
					return err
				}
			}
		}
		_, err := fmt.Fprintf(log, "manifest %s\n", built.Digest())
		return err
	})
	return built, err
}
