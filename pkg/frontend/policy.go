package frontend

import (
	"context"
	"maps"
	"strings"

	imageref "github.com/distribution/reference"
	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/policy"
)

// decide asks the source policy about a source, and returns it or what it is replaced by. The source
// itself is not changed.
func (b *build) decide(ctx context.Context, source *pb.SourceOp) (*pb.SourceOp, error) {
	got, err := b.sources.Decide(ctx, policy.Source{Identifier: source.GetIdentifier(), Attrs: source.GetAttrs()})
	if err != nil {
		return nil, err
	}
	return &pb.SourceOp{Identifier: got.Identifier, Attrs: got.Attrs}, nil
}

// decideOp does the same for an operation of the graph. An image that another source is replaced by
// gets its digest here: the frontend, which looks up the images that it knows of, has not seen it.
func (b *build) decideOp(ctx context.Context, o *pb.Op) error {
	source := o.GetSource()
	if source == nil || b.sources == nil {
		return nil
	}
	got, err := b.decide(ctx, source)
	if err != nil {
		return err
	}
	if got.GetIdentifier() != source.GetIdentifier() {
		dropForeign(source, got)
		if err := b.pinReplacement(ctx, o, got); err != nil {
			return err
		}
	}
	source.Identifier, source.Attrs = got.GetIdentifier(), got.GetAttrs()
	return nil
}

// dropForeign leaves out attributes of a source that its replacement, of another kind, cannot have.
func dropForeign(source, replacement *pb.SourceOp) {
	kind := func(s *pb.SourceOp) string {
		scheme, _, _ := strings.Cut(s.GetIdentifier(), "://")
		return strings.TrimSuffix(scheme, "s") // http, https
	}
	if kind(source) != kind(replacement) {
		maps.DeleteFunc(replacement.GetAttrs(), func(k, v string) bool { return source.GetAttrs()[k] == v })
	}
}

func (b *build) pinReplacement(ctx context.Context, o *pb.Op, source *pb.SourceOp) error {
	ref, isImage := strings.CutPrefix(source.GetIdentifier(), schemeImage+"://")
	if !isImage {
		return nil
	}
	if o.GetPlatform() == nil { // which other sources do not need
		o.Platform = pb.PlatformFromSpec(toOCI(b.platform))
	}
	named, err := imageref.ParseNormalizedNamed(ref)
	if err != nil {
		return err
	}
	if _, pinned := named.(imageref.Digested); pinned {
		return nil
	}
	ref, dgst, _, err := b.images.ResolveImage(ctx, ref, fromPB(o.GetPlatform()), pb.AttrImageResolveModeDefault, "")
	if err != nil {
		return err
	}
	if ref, err = pin(ref, dgst); err != nil {
		return err
	}
	source.Identifier = schemeImage + "://" + ref
	return nil
}
