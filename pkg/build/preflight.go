package build

import (
	"context"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// hostNetwork is the permission for RUN --network=host, by BuildKit's name for it.
const hostNetwork = "network.host"

// preflight refuses, before any layer is fetched and anything is run, each RUN that cannot be
// run here or is not allowed. The error has its place in the Dockerfile.
func (s *session) preflight(ctx context.Context, env *op.Env, todo []*op.Vertex) error {
	p := &preflight{session: s, env: env, architectures: map[string]error{}}
	for _, v := range todo {
		if e, ok := v.Op.(*op.Exec); ok {
			if err := p.check(ctx, e); err != nil {
				return op.Locate(err, v.Locations)
			}
		}
	}
	return nil
}

type preflight struct {
	*session
	env           *op.Env
	architectures map[string]error // of those that were tried
}

func (p *preflight) check(ctx context.Context, e *op.Exec) error {
	if err := e.Permitted(p.env); err != nil {
		return err
	}
	if demands := e.Demands(p.env); demands != nil {
		if err := p.checkDemands(demands); err != nil {
			return err
		}
	}
	return p.checkArchitecture(ctx, e.Platform.Architecture)
}

// checkDemands asks the backend whether it can meet them.
func (p *preflight) checkDemands(demands *isolation.Process) error {
	b, err := p.backend.get(nil)
	if err != nil {
		return err
	}
	if c, ok := b.(isolation.Checker); ok {
		return c.Check(demands)
	}
	return nil
}

func (p *preflight) checkArchitecture(ctx context.Context, architecture string) error {
	if err, tried := p.architectures[architecture]; tried || architecture == "" {
		return err
	}
	dir, err := p.state.TempDir("preflight-")
	if err != nil {
		return err
	}
	err = isolation.CheckArchitecture(ctx, dir, architecture)
	p.architectures[architecture] = err
	return err
}

// vertices lists what a build has to do, each after what it needs.
func vertices(r *frontend.Result, further ...*frontend.Result) []*op.Vertex {
	return op.Vertices(roots(r, further...)...)
}
