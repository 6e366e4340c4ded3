package frontend

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/attestations/sbom"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// SBOM asks what a bill of materials is to be made of, or for one.
type SBOM struct {
	// Generator is an image that makes it, by BuildKit's scanner protocol
	// (https://github.com/moby/buildkit/blob/master/docs/attestations/sbom-protocol.md); "" if the
	// caller makes it.
	Generator string
	// Parameters are what the generator is told: KEY becomes BUILDKIT_SCAN_KEY in its environment.
	Parameters map[string]string
}

// Materials are what the bill of materials of one platform's image is made of, beside the image.
type Materials struct {
	// Extras are root filesystems that are to be listed, too, by the names that their lists get:
	// those of stages and of the build context, where the Dockerfile or a build argument sets
	// BUILDKIT_SBOM_SCAN_STAGE or BUILDKIT_SBOM_SCAN_CONTEXT. A nil edge is an empty root filesystem.
	Extras map[string]*op.Edge
	// Report is the directory that the generator writes; nil without a generator.
	Report *op.Edge
}

// placeholder stands for the generator where there is none: the frontend, which adds a step for it,
// knows in that step what is to be listed. No registry is called so (RFC 2606, section 2).
const placeholder = "slipway.invalid/scanner"

const (
	optionSBOM = "attest:sbom"
	// scanSources is where the scanner protocol has root filesystems.
	scanSources = "/run/src"
	// scanDestination tells a scanner where to write. Only scanners have it.
	scanDestination = "BUILDKIT_SCAN_DESTINATION="
)

// option renders the request as the frontend takes it.
func (s *SBOM) option() (string, error) {
	generator := s.Generator
	if generator == "" {
		generator = placeholder
	}
	fields := []string{"generator=" + generator}
	for _, k := range slices.Sorted(maps.Keys(s.Parameters)) {
		if k == "generator" || k == "" {
			return "", fmt.Errorf("a generator of an SBOM has no parameter %q", k)
		}
		fields = append(fields, k+"="+s.Parameters[k])
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.Write(fields); err != nil {
		return "", err
	}
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// resolvePlaceholder answers what the frontend asks about the image that is none; nil if source is another.
func resolvePlaceholder(source *pb.SourceOp) *sourceresolver.MetaResponse {
	if !isPlaceholder(source) {
		return nil
	}
	return &sourceresolver.MetaResponse{
		Op: &pb.SourceOp{Identifier: source.GetIdentifier()},
		Image: &sourceresolver.ResolveImageResponse{
			Digest: digest.FromString(placeholder),
			Config: []byte(`{"architecture":"none","os":"linux","config":{"Entrypoint":["scan"]},"rootfs":{"type":"layers","diff_ids":["` + digest.FromString("").String() + `"]}}`),
		},
	}
}

func isPlaceholder(source *pb.SourceOp) bool {
	ref, ok := strings.CutPrefix(source.GetIdentifier(), schemeImage+"://"+placeholder)
	return ok && (ref == "" || ref[0] == ':' || ref[0] == '@')
}

// isScanner reports whether an operation is the step of a scanner.
func isScanner(meta *pb.Meta) bool {
	return slices.ContainsFunc(meta.GetEnv(), func(v string) bool { return strings.HasPrefix(v, scanDestination) })
}

// materials is what the frontend gets instead of a scanner's report.
type materials struct {
	reference // not to be looked at: it is of no edge
	extras    map[string]*op.Edge
}

// solveScan finds out what a scanner would be given, if the graph is one that ends with the placeholder;
// else it returns nil. The step itself is not decoded.
func (g *gatewayClient) solveScan(ctx context.Context, def *pb.Definition) (*materials, error) {
	if g.sbom == nil || g.sbom.Generator != "" || len(def.GetDef()) == 0 {
		return nil, nil
	}
	ops, err := unmarshalOps(def)
	if err != nil {
		return nil, fmt.Errorf("build graph: %w", err)
	}
	var scan *rawOp
	rest := &pb.Definition{Metadata: def.GetMetadata(), Source: def.GetSource()}
	for i, o := range ops {
		switch {
		case isPlaceholder(o.pb.GetSource()):
		case isScanner(o.pb.GetExec().GetMeta()):
			scan = o
		case o.pb.GetOp() != nil:
			rest.Def = append(rest.Def, def.GetDef()[i])
		}
	}
	if scan == nil {
		return nil, nil
	}
	m := &materials{extras: map[string]*op.Edge{}}
	for _, mount := range scan.pb.GetExec().GetMounts() {
		name, ok := extraName(mount.GetDest())
		if !ok {
			continue
		}
		if m.extras[name], err = g.graph.decodeInput(ctx, rest, scan.pb, mount.GetInput()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// extraName is the name of what is mounted at a place for root filesystems to be scanned beside the image.
func extraName(dest string) (string, bool) {
	dir, base := path.Split(path.Clean(dest))
	name, ok := strings.CutPrefix(base, sbom.ExtraSBOMPrefix)
	return name, ok && path.Clean(dir) == scanSources+"/extras"
}

// decodeInput decodes a definition that lacks its end, and returns the edge that an input of o refers
// to; nil if there is no such input.
func (g *graph) decodeInput(ctx context.Context, def *pb.Definition, o *pb.Op, input int64) (*op.Edge, error) {
	if input < 0 || input >= int64(len(o.GetInputs())) {
		return nil, nil
	}
	end, err := (&pb.Op{Inputs: []*pb.Input{o.GetInputs()[input]}}).Marshal()
	if err != nil {
		return nil, err
	}
	return g.decode(ctx, &pb.Definition{Def: append(slices.Clip(def.GetDef()), end), Metadata: def.GetMetadata(), Source: def.GetSource()})
}

// materialsOf takes what the frontend says of the bill of materials of a platform's image.
func materialsOf(list []gw.Attestation) (*Materials, error) {
	if len(list) != 1 || list[0].Kind != gwpb.AttestationKind_Bundle {
		return nil, fmt.Errorf("the frontend returned %d attestations instead of one SBOM", len(list))
	}
	switch ref := list[0].Ref.(type) {
	case *materials:
		return &Materials{Extras: ref.extras}, nil
	case *reference:
		return &Materials{Report: &ref.edge}, nil
	default:
		return nil, fmt.Errorf("unexpected reference %T of an SBOM", ref)
	}
}

// limitScanner keeps a scanner from the network, where RUN is kept from it.
func (o *Options) limitScanner(m *Materials) {
	if m.Report == nil || o.Network != "none" {
		return
	}
	if e, ok := m.Report.Vertex.Op.(*op.Exec); ok {
		e.Network = isolation.NetworkNone
	}
}
