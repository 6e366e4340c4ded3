package frontend

import (
	"context"
	"fmt"
	"strings"

	imageref "github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/imageutil"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// The kinds of sources, as LLB spells them.
const (
	schemeImage  = "docker-image"
	schemeLayout = "oci-layout"
	schemeLocal  = "local"
	schemeGit    = "git"
	schemeHTTP   = "http"
	schemeHTTPS  = "https"
)

// ResolveImageConfig implements gw.Client.
func (g *gatewayClient) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	scheme, attrs := schemeImage, map[string]string(nil)
	if o := opt.OCILayoutOpt; o != nil {
		scheme, attrs = schemeLayout, map[string]string{pb.AttrOCILayoutStoreID: o.Store.StoreID}
	}
	source, err := g.decide(ctx, &pb.SourceOp{Identifier: scheme + "://" + ref, Attrs: attrs})
	if err != nil {
		g.noteLookup(err)
		return "", "", nil, err
	}
	replacement, same := strings.CutPrefix(source.GetIdentifier(), scheme+"://")
	if !same {
		// Where it is a named context, the frontend goes on with that.
		return "", "", nil, &imageutil.ResolveToNonImageError{Ref: ref, Updated: source.GetIdentifier()}
	}
	return g.resolveImage(ctx, replacement, opt)
}

// resolveImage looks up an image that is allowed.
func (g *gatewayClient) resolveImage(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	var (
		platform     *ocispecs.Platform
		mode, layout string
	)
	if o := opt.ImageOpt; o != nil {
		if o.AttestationChain || len(o.ResolveAttestations) > 0 {
			return "", "", nil, &UnsupportedError{What: "reading the attestations of " + ref}
		}
		platform, mode = o.Platform, o.ResolveMode
	}
	if o := opt.OCILayoutOpt; o != nil {
		platform, layout = o.Platform, o.Store.StoreID
	}
	if mode == "" {
		mode = pb.AttrImageResolveModeDefault
	}
	p := g.platform
	if platform != nil {
		p = fromOCI(*platform)
	}
	pinned, dgst, config, err := g.resolve(ctx, ref, p, mode, layout)
	if err != nil {
		g.noteLookup(err)
		return "", "", nil, err
	}
	g.noteImage(ref, dgst, p, layout != "")
	return pinned, dgst, config, nil
}

// pin returns ref with the digest, in full form. Some ways through the frontend put the
// reference as it is into the graph, others add the digest again.
func pin(ref string, dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("digest %q of the image: %w", dgst, err)
	}
	named, err := imageref.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	pinned, err := imageref.WithDigest(named, dgst)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	return pinned.String(), nil
}

// ResolveSourceMetadata implements gw.Client. For a Dockerfile it is asked about images and,
// when SOURCE_DATE_EPOCH names one, about contexts.
func (g *gatewayClient) ResolveSourceMetadata(ctx context.Context, source *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if r := resolvePlaceholder(source); r != nil && g.sbom != nil {
		return r, nil
	}
	source, err := g.decide(ctx, source)
	if err != nil {
		g.noteLookup(err)
		return nil, err
	}
	scheme, ref, ok := strings.Cut(source.GetIdentifier(), "://")
	if !ok {
		return nil, fmt.Errorf("source %q has no scheme", source.GetIdentifier())
	}
	switch scheme {
	case schemeLocal:
		return &sourceresolver.MetaResponse{Op: source}, nil
	case schemeHTTP, schemeHTTPS:
		return g.resolveHTTP(ctx, source, opt)
	case schemeGit:
		return g.resolveGit(ctx, source, opt)
	case schemeImage:
	case schemeLayout:
		if opt.OCILayoutOpt == nil {
			opt.OCILayoutOpt = &sourceresolver.ResolveOCILayoutOpt{
				Store: sourceresolver.ResolveImageConfigOptStore{StoreID: source.GetAttrs()[pb.AttrOCILayoutStoreID]},
			}
		}
	default:
		return nil, unsupportedSource(source.GetIdentifier())
	}
	pinned, dgst, config, err := g.resolveImage(ctx, ref, opt)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.MetaResponse{
		Op:    &pb.SourceOp{Identifier: scheme + "://" + pinned, Attrs: source.GetAttrs()},
		Image: &sourceresolver.ResolveImageResponse{Digest: dgst, Config: config},
	}, nil
}
