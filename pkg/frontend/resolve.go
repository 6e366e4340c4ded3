package frontend

import (
	"context"
	"fmt"

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
