package build

import (
	"context"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/policy/sigstore"
	"github.com/slipway-build/slipway/pkg/registry"
)

// imageSource is where the images come from that a build is based on: the registry client, or the guard before it.
type imageSource interface {
	frontend.ImageResolver
	op.Images
	ResolveLayout(ctx context.Context, store, id string, p op.Platform) (*registry.Image, error)
}

// connect prepares the registry client, and sets what decides about images before it.
func (s *session) connect(ctx context.Context) (err error) {
	r := s.Registry
	r.State, r.Layouts = s.state, s.plan.layouts
	r.Warn = s.note
	if s.client, err = registry.New(ctx, r); err != nil {
		return err
	}
	s.images = s.client
	if s.plan.policy != nil {
		s.images = policy.NewGuard(ctx, s.client, s.plan.policy, s.plan.policyMode, sigstore.New(ctx, s.client), s.note)
	}
	return nil
}

// setPolicy loads the policy about images, if there is one.
func (p *plan) setPolicy(o *Options) (err error) {
	if p.policyMode, err = policy.ParseMode(o.PolicyMode); err != nil || o.PolicyFile == "" {
		return err
	}
	p.policy, err = policy.LoadImages(o.PolicyFile)
	return err
}
