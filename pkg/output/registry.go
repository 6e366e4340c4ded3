package output

import (
	"context"
	"errors"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Registry pushes an image. Prepare sends blobs and manifests, the topmost one under its digest, and
// has the registry confirm it; Commit writes the tags.
type Registry struct {
	to *registry.Destinations
	// byDigest leaves out the tags.
	byDigest bool
	endorser Endorser // nil for none
}

// Endorser tells others that an image is good, as by a signature.
type Endorser interface {
	// Endorse is called once for each repository, when it has the image by its digest and no tag names it yet: whoever finds it by a
	// tag finds it endorsed.
	Endorse(ctx context.Context, repo name.Repository, b *image.Built) error
}

// Endorsed is the output with an endorser.
func (r *Registry) Endorsed(by Endorser) *Registry {
	e := *r
	e.endorser = by
	return &e
}

// NewRegistry returns the output that pushes to refs, at least one. With byDigest the image gets no
// tag, and refs are names of repositories.
func NewRegistry(client *registry.Client, refs []string, byDigest bool) (*Registry, error) {
	if len(refs) == 0 {
		return nil, errors.New("pushing an image needs its name (--tag or name=)")
	}
	to, err := client.Destinations(refs)
	if err != nil {
		return nil, err
	}
	return &Registry{to: to, byDigest: byDigest}, nil
}

// String implements Output.
func (r *Registry) String() string { return "pushing to " + r.to.String() }

// Check implements Checker.
func (r *Registry) Check(ctx context.Context) error { return r.to.MayPush(ctx) }

// Prepare implements Output.
func (r *Registry) Prepare(ctx context.Context, b *image.Built) (Pending, error) {
	if err := r.to.Push(ctx, b.Artifact()); err != nil {
		return nil, err
	}
	if r.endorser != nil {
		for _, repo := range r.to.Repositories() {
			if err := r.endorser.Endorse(ctx, repo, b); err != nil {
				return nil, err
			}
		}
	}
	return &pendingTags{r, b}, nil
}

// pendingTags is a pushed image that has no tags yet.
type pendingTags struct {
	*Registry
	built *image.Built
}

// Commit implements Pending.
func (p *pendingTags) Commit(ctx context.Context) (*Result, error) {
	if !p.byDigest {
		if err := p.to.Tag(ctx, p.built.Artifact()); err != nil {
			return nil, err
		}
	}
	res := &Result{}
	for _, ref := range p.to.Written() {
		res.Pushed = append(res.Pushed, Pushed{Ref: ref, Digest: p.built.Digest()})
	}
	return res, nil
}

// Abort implements Pending. What lies in the registry without a tag is the registry's to collect.
func (p *pendingTags) Abort() error { return nil }
