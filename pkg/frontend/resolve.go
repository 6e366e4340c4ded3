package frontend

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// resolveHTTP says what a URL has, which takes fetching it. The frontend asks when
// SOURCE_DATE_EPOCH is to be the age of a file.
func (g *gatewayClient) resolveHTTP(ctx context.Context, source *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if opt.HTTPOpt != nil && opt.HTTPOpt.ChecksumReq != nil {
		return nil, &UnsupportedError{What: "another checksum of " + source.GetIdentifier()}
	}
	o, err := decodeHTTP(source.GetIdentifier(), source.GetAttrs())
	if err != nil {
		return nil, err
	}
	v, err := g.solveAlone(ctx, source.GetIdentifier(), o, opt)
	if err != nil {
		return nil, err
	}
	for n := range v.Root().Children() {
		e := n.Entry()
		meta := &sourceresolver.ResolveHTTPResponse{
			Digest:   digest.NewDigestFromEncoded(digest.SHA256, fmt.Sprintf("%x", e.Sum)),
			Filename: n.Name(),
		}
		if e.ModTime.Unix() != 0 { // else the server did not say
			meta.LastModified = &e.ModTime
		}
		return &sourceresolver.MetaResponse{Op: source, HTTP: meta}, nil
	}
	return nil, fmt.Errorf("%s gave no file", source.GetIdentifier())
}

// resolveGit says which commit a ref is and, if the frontend wants it, what is in the commit.
func (g *gatewayClient) resolveGit(ctx context.Context, source *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	_, ref, _ := strings.Cut(source.GetIdentifier(), "://")
	o, err := decodeGit(ref, source.GetAttrs())
	if err != nil {
		return nil, err
	}
	v, err := g.solveAlone(ctx, source.GetIdentifier(), &op.GitObjects{Git: o}, opt)
	if err != nil {
		return nil, err
	}
	parts := map[string][]byte{}
	for n := range v.Root().Children() {
		if parts[n.Name()], err = v.ReadFile(ctx, n.Name(), maxRead); err != nil {
			return nil, err
		}
	}
	meta := &sourceresolver.ResolveGitResponse{
		Checksum: string(parts["hash"]), Ref: string(parts["ref"]), CommitChecksum: string(parts["peeled"]),
	}
	if opt.GitOpt != nil && opt.GitOpt.ReturnObject {
		meta.CommitObject, meta.TagObject = parts["commit"], parts["tag"]
	}
	return &sourceresolver.MetaResponse{Op: source, Git: meta}, nil
}

// solveAlone executes an operation that is not part of the graph.
func (g *gatewayClient) solveAlone(ctx context.Context, id string, o op.Op, opt sourceresolver.Opt) (*tree.View, error) {
	name := opt.LogName
	if name == "" {
		name = "[internal] load metadata for " + id
	}
	v := &op.Vertex{ID: digest.FromString("metadata: " + name + " " + id).String(), Op: o, Name: name, Internal: true}
	t, err := g.solver.Solve(ctx, op.Edge{Vertex: v})
	if err != nil {
		return nil, err
	}
	return t.View(ctx)
}
