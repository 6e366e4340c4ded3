package build

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/attest"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/provenance"
	"github.com/slipway-build/slipway/pkg/solve"
)

// AttestOptions say what is told about the image besides the image.
type AttestOptions struct {
	// Kinds, SBOM and Provenance are the flags --attest, --sbom and --provenance.
	Kinds            []string
	SBOM, Provenance string
	// Storage is where attestations go: "index" (also if it is ""), "cosign" or "both".
	Storage string
	// VCSSource and VCSRevision are the repository and the commit of a context that is a directory.
	VCSSource, VCSRevision string
	// Run is who asks for the build, by names such as "taskRun"; InvocationID identifies it, "" for a random one.
	Run          map[string]string
	InvocationID string
	// EnvDir has JSON files with further facts about where the build runs; "" for none.
	EnvDir string
}

// attest gives the image what is to be told about it.
func (s *session) attest(ctx context.Context, solver *solve.Solver, b *image.Built, graph *frontend.Result) (attested *image.Built, err error) {
	if s.plan.attest.None() {
		return b, nil
	}
	err = s.display.Step(ctx, "attesting the image", func(ctx context.Context, log io.Writer) error {
		all := make([][]image.Statement, len(b.Images()))
		for i := range b.Images() {
			if all[i], err = s.statements(ctx, solver, b, i, graph); err != nil {
				return err
			}
			for _, said := range all[i] {
				if _, err := fmt.Fprintf(log, "%s %d bytes\n", said.PredicateType, len(said.Content)); err != nil {
					return err
				}
			}
		}
		if s.plan.storage.index() {
			attested, err = b.Attest(all)
		} else {
			attested, err = b.Describe(all)
		}
		return err
	})
	return attested, err
}

// statements are those about the image of the i-th platform.
func (s *session) statements(ctx context.Context, solver *solve.Solver, b *image.Built, i int, graph *frontend.Result) ([]image.Statement, error) {
	img := b.Images()[i]
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	about := attest.Subject{Names: s.names, Platform: img.Platform(), Digest: digest}
	var all []image.Statement
	if o := s.plan.attest.Provenance; o != nil {
		facts, err := s.facts(ctx, img, i, graph)
		if err != nil {
			return nil, err
		}
		p, err := provenance.New(ctx, facts, o, sources{s.env.Downloads, s.env.Repositories})
		if err != nil {
			return nil, err
		}
		said, err := attest.NewStatement(o.Filename, p.PredicateType, p.Predicate, about)
		if err != nil {
			return nil, err
		}
		all = append(all, said)
	}
	if s.plan.attest.SBOM == nil {
		return all, nil
	}
	listed, err := s.bills(solver, b, img, about).statements(ctx, graph.Platforms[i].SBOM)
	return append(all, listed...), err
}

// sources are the build's downloads and repositories, which know what it has fetched.
type sources struct {
	op.Downloads
	op.Repositories
}

// facts are what the build knows of the image of the i-th platform.
func (s *session) facts(ctx context.Context, img *image.Image, i int, graph *frontend.Result) (*provenance.Facts, error) {
	p := graph.Platforms[i]
	f := &provenance.Facts{
		Roots: graph.Used.Edges, Files: s.contextFiles, Args: maps.Clone(graph.Used.Options),
		Platform:  p.ID,
		VCSSource: s.Attest.VCSSource, VCSRevision: s.Attest.VCSRevision,
		Env: s.plan.env, Hermetic: s.Hermetic, Run: s.Attest.Run, InvocationID: s.Attest.InvocationID, DockerfileVersion: graph.Used.Version,
		Started: s.now, Finished: time.Now().UTC(),
	}
	if f.InvocationID == "" {
		f.InvocationID = rand.Text()
	}
	for _, file := range s.contextFiles {
		if slices.Contains(file.Locals, "context") {
			f.Args["context"] = file.URL
		}
	}
	if p.Root != nil {
		f.Roots = append(slices.Clip(f.Roots), *p.Root)
	}
	if p.Definition != nil {
		f.Definition = &provenance.Definition{LLB: p.Definition}
	}
	for _, u := range graph.Used.Images {
		if !ofOther(u.Platform, i, graph) {
			f.Images = append(f.Images, provenance.Image{Ref: u.Ref, Digest: u.Digest, Platform: u.Platform, Local: u.Layout})
		}
	}
	var err error
	f.Layers, err = s.layersOf(ctx, img, p)
	return f, err
}

// ofOther reports whether an image was looked up for the image of another platform.
func ofOther(p op.Platform, i int, graph *frontend.Result) bool {
	return p.String() != graph.Platforms[i].Platform.String() &&
		slices.ContainsFunc(graph.Platforms, func(r frontend.PlatformResult) bool { return r.Platform.String() == p.String() })
}

// layersOf lists the blobs of the image, and of images that it is built upon, by vertex. What lies between is known only where it was
// executed, so it is left out.
func (s *session) layersOf(ctx context.Context, img *image.Image, p frontend.PlatformResult) (map[*op.Vertex][]ocispec.Descriptor, error) {
	all := map[*op.Vertex][]ocispec.Descriptor{}
	if p.Root == nil {
		return all, nil
	}
	for _, v := range op.Vertices(*p.Root) {
		base, ok := v.Op.(*op.Image)
		if !ok {
			continue
		}
		layers, err := s.env.Images.Layers(ctx, base)
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			b, ok := l.(layer.Blob)
			if !ok {
				continue
			}
			desc, err := partial.Descriptor(b.Blob())
			if err != nil {
				return nil, err
			}
			all[v] = append(all[v], ocispec.Descriptor{MediaType: string(desc.MediaType), Digest: digest.Digest(desc.Digest.String()), Size: desc.Size})
		}
	}
	if _, isBase := p.Root.Vertex.Op.(*op.Image); isBase || p.Root.Output != 0 {
		return all, nil
	}
	for _, l := range img.List() {
		all[p.Root.Vertex] = append(all[p.Root.Vertex], ocispec.Descriptor{MediaType: string(l.MediaType), Digest: digest.Digest(l.Digest.String()), Size: l.Size})
	}
	return all, nil
}
