package frontend

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// sessionID takes the place of BuildKit's session. It is fixed: without one, local sources
// get random names, and every vertex that builds on them another ID on each run.
const sessionID = "slipway"

// gatewayClient is what the frontend takes for its connection to a BuildKit daemon. It is
// used from several goroutines at once.
type gatewayClient struct {
	*build
	opts map[string]string
}

var _ gw.Client = (*gatewayClient)(nil)

// gateway returns a client for one run of the frontend with the given options.
func (b *build) gateway(opts map[string]string) *gatewayClient {
	return &gatewayClient{build: b, opts: opts}
}

// BuildOpts implements gw.Client. The map in it is a copy each time, as the frontend writes to
// it. All capabilities that this version of BuildKit knows are advertised; those that cannot be
// honored are refused in decoding.
func (g *gatewayClient) BuildOpts() gw.BuildOpts {
	return gw.BuildOpts{
		Opts:      maps.Clone(g.opts),
		SessionID: sessionID,
		Product:   "slipway",
		Workers:   []gw.WorkerInfo{{ID: "slipway", Platforms: []ocispecs.Platform{g.platform.OCI()}}},
		LLBCaps:   pb.Caps.CapSet(pb.Caps.All()),
		Caps:      gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

// Solve implements gw.Client: it decodes the request's graph, or runs the frontend that it
// names. Nothing is executed unless the request says so.
func (g *gatewayClient) Solve(ctx context.Context, req gw.SolveRequest) (*gw.Result, error) {
	switch {
	case len(req.CacheImports) > 0:
		return nil, &UnsupportedError{What: "a cache import through the frontend"}
	case len(req.SourcePolicies) > 0:
		return nil, &UnsupportedError{What: "a source policy through the frontend"}
	case len(req.FrontendInputs) > 0:
		return nil, &UnsupportedError{What: "an input of the frontend"}
	case req.Frontend != "":
		return g.solveFrontend(ctx, req)
	}
	res := gw.NewResult()
	scan, err := g.solveScan(ctx, req.Definition)
	if err != nil {
		return nil, err
	}
	if scan != nil {
		res.SetRef(scan)
		return res, nil
	}
	edge, err := g.graph.decode(ctx, req.Definition)
	if err != nil {
		return nil, err
	}
	if edge == nil {
		// An image without layers. The reference must stay a nil interface.
		return res, nil
	}
	ref := &reference{build: g.build, edge: *edge, definition: req.Definition}
	if req.Evaluate {
		if err := ref.Evaluate(ctx); err != nil {
			return nil, err
		}
	}
	res.SetRef(ref)
	return res, nil
}

// solveFrontend runs the frontend that a syntax line or BUILDKIT_SYNTAX names, if it is the
// one that is built in. Its options include "cmdline", which keeps it from coming here again.
func (g *gatewayClient) solveFrontend(ctx context.Context, req gw.SolveRequest) (*gw.Result, error) {
	if req.Frontend != "gateway.v0" {
		return nil, &UnsupportedError{What: fmt.Sprintf("the frontend %q", req.Frontend)}
	}
	if err := g.checkSyntax(req.FrontendOpt["source"]); err != nil {
		return nil, err
	}
	return builder.Build(ctx, g.gateway(maps.Clone(req.FrontendOpt)))
}

// Inputs implements gw.Client.
func (g *gatewayClient) Inputs(context.Context) (map[string]llb.State, error) {
	states := map[string]llb.State{}
	for name, marshalled := range g.inputs {
		var def *pb.Definition
		if marshalled != nil {
			def = &pb.Definition{}
			if err := def.Unmarshal(marshalled); err != nil {
				return nil, fmt.Errorf("input %s: %w", name, err)
			}
		}
		o, err := llb.NewDefinitionOp(def)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", name, err)
		}
		states[name] = llb.NewState(o)
	}
	return states, nil
}

// NewContainer implements gw.Client. The Dockerfile frontend never calls it.
func (g *gatewayClient) NewContainer(context.Context, gw.NewContainerRequest) (gw.Container, error) {
	return nil, errors.New("the frontend asked for a container of its own")
}

// Warn implements gw.Client.
func (g *gatewayClient) Warn(_ context.Context, _ digest.Digest, msg string, opts gw.WarnOpts) error {
	g.report(newWarning(msg, opts))
	return nil
}
