package frontend

import (
	"context"
	"fmt"
	"maps"
	"strings"

	imageref "github.com/distribution/reference"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
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

// decideOp does the same for an operation of the graph. Every image in it is looked up, if the frontend has not: so whoever
// looks images up decides about all of them, whatever they come from.
func (b *build) decideOp(ctx context.Context, o *pb.Op) error {
	source := o.GetSource()
	if source == nil {
		return nil
	}
	got, err := b.decide(ctx, source)
	if err != nil {
		return err
	}
	if got.GetIdentifier() != source.GetIdentifier() {
		dropForeign(source, got)
		if o.GetPlatform() == nil && isImage(got) { // which other sources do not need
			o.Platform = pb.PlatformFromSpec(b.platform.OCI())
		}
		if err := b.pinReplacement(ctx, o, got); err != nil {
			return err
		}
	}
	source.Identifier, source.Attrs = got.GetIdentifier(), got.GetAttrs()
	return b.lookUp(ctx, o)
}

func isImage(source *pb.SourceOp) bool {
	return strings.HasPrefix(source.GetIdentifier(), schemeImage+"://")
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

// pinReplacement gives an image that another source is replaced by its digest, as the frontend does with those that it
// knows of.
func (b *build) pinReplacement(ctx context.Context, o *pb.Op, source *pb.SourceOp) error {
	if !isImage(source) {
		return nil
	}
	ref := strings.TrimPrefix(source.GetIdentifier(), schemeImage+"://")
	named, err := imageref.ParseNormalizedNamed(ref)
	if err != nil {
		return err
	}
	if _, pinned := named.(imageref.Digested); pinned {
		return nil
	}
	ref, _, _, err = b.resolve(ctx, ref, fromPB(o.GetPlatform()), pb.AttrImageResolveModeDefault, "")
	if err != nil {
		return err
	}
	source.Identifier = schemeImage + "://" + ref
	return nil
}

// lookUp looks up an image of the graph that nobody has looked up yet.
func (b *build) lookUp(ctx context.Context, o *pb.Op) error {
	source := o.GetSource()
	scheme, ref, _ := strings.Cut(source.GetIdentifier(), "://")
	layout := source.GetAttrs()[pb.AttrOCILayoutStoreID]
	if scheme != schemeImage && (scheme != schemeLayout || layout == "") { // which is refused later
		return nil
	}
	if err := checkPinned(ref); err != nil {
		return err
	}
	if _, ok := b.resolved.Load(resolvedKey{ref, layout}); ok {
		return nil
	}
	_, _, _, err := b.resolve(ctx, ref, fromPB(o.GetPlatform()), pb.AttrImageResolveModeDefault, layout)
	return err
}

// resolvedKey is an image by its full reference with digest, and the layout that it is in.
type resolvedKey struct{ ref, layout string }

// resolve looks an image up, and returns its reference with the digest, in full form.
func (b *build) resolve(ctx context.Context, ref string, p op.Platform, mode, layout string) (string, digest.Digest, []byte, error) {
	pinned, dgst, config, err := b.images.ResolveImage(ctx, ref, p, mode, layout)
	if err != nil {
		return "", "", nil, err
	}
	if pinned, err = pin(pinned, dgst); err != nil {
		return "", "", nil, fmt.Errorf("%s: %w", ref, err)
	}
	for _, known := range []string{ref, pinned} { // the frontend goes on with either
		b.resolved.Store(resolvedKey{known, layout}, true)
	}
	return pinned, dgst, config, nil
}
