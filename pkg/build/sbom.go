package build

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/attest"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/sbom"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// bills lists what an image has in it, and what the stages and the context have that the Dockerfile wants to be listed, too.
type bills struct {
	*session
	solver *solve.Solver
	image  *image.Image
	// document is about the image; what else is listed has its place in the name.
	document sbom.Document
	about    attest.Subject
}

func (s *session) bills(solver *solve.Solver, b *image.Built, img *image.Image, about attest.Subject) *bills {
	version, _, _ := strings.Cut(strings.TrimPrefix(s.Registry.UserAgent, "slipway/"), ",")
	d := sbom.Document{Digest: about.Digest.String(), Created: s.now, Version: version}
	if epoch := b.Options().Epoch; epoch != nil {
		d.Created = *epoch
	}
	if len(about.Names) > 0 {
		d.Name = about.Names[0]
	}
	return &bills{s, solver, img, d, about}
}

// statements are those of the built-in scanner or of a generator.
func (b *bills) statements(ctx context.Context, m *frontend.Materials) ([]image.Statement, error) {
	if m != nil && m.Report != nil {
		return b.reports(ctx, *m.Report)
	}
	d := b.document
	digests := map[layer.Layer]string{}
	list := b.image.List()
	for i, l := range b.image.Tree().Layers() {
		digests[l] = list[i].Digest.String()
	}
	d.LayerDigest = func(l layer.Layer) string { return digests[l] }
	all, err := b.scan(ctx, "sbom", b.image.Tree(), d)
	if err != nil || m == nil {
		return all, err
	}
	for _, name := range slices.Sorted(maps.Keys(m.Extras)) {
		edge := m.Extras[name]
		if edge == nil {
			continue // it is empty
		}
		t, err := b.solver.Solve(ctx, *edge)
		if err != nil {
			return nil, err
		}
		d := b.document
		d.Name = strings.TrimSpace(d.Name + " " + name)
		extra, err := b.scan(ctx, "sbom-"+name, t, d)
		if err != nil {
			return nil, err
		}
		all = append(all, extra...)
	}
	return all, nil
}

// scan lists what a tree has, in the formats that are wanted.
func (b *bills) scan(ctx context.Context, name string, t *tree.Tree, d sbom.Document) ([]image.Statement, error) {
	found, err := sbom.Scan(ctx, t, sbom.Options{State: b.state, Warn: b.note})
	if err != nil {
		return nil, err
	}
	var all []image.Statement
	for _, f := range []struct {
		wanted    bool
		file      string
		predicate string
		render    func(sbom.Document) ([]byte, error)
	}{
		{b.plan.attest.SBOM.SPDX, name + ".spdx.json", sbom.PredicateSPDX, found.SPDX},
		{b.plan.attest.SBOM.CycloneDX, name + ".cdx.json", sbom.PredicateCycloneDX, found.CycloneDX},
	} {
		if !f.wanted {
			continue
		}
		predicate, err := f.render(d)
		if err != nil {
			return nil, err
		}
		said, err := attest.NewStatement(f.file, f.predicate, predicate, b.about)
		if err != nil {
			return nil, err
		}
		all = append(all, said)
	}
	return all, nil
}

// reports are what a generator has written. They are about what it says, else about the image.
func (b *bills) reports(ctx context.Context, edge op.Edge) ([]image.Statement, error) {
	t, err := b.solver.Solve(ctx, edge)
	if err != nil {
		return nil, err
	}
	reports, err := sbom.ReadReports(ctx, t)
	if err != nil {
		return nil, op.Locate(err, edge.Vertex.Locations)
	}
	var all []image.Statement
	for _, r := range reports {
		said, err := b.report(r)
		if err != nil {
			return nil, err
		}
		all = append(all, said)
	}
	return all, nil
}

func (b *bills) report(r sbom.Report) (image.Statement, error) {
	if len(r.Subjects) == 0 {
		return attest.NewStatement(r.Name, r.PredicateType, r.Predicate, b.about)
	}
	about := map[string]map[string]string{}
	for _, s := range r.Subjects {
		about[s.Name] = s.Digest
	}
	return attest.NewStatementAbout(r.Name, r.PredicateType, r.Predicate, about)
}

// scanners are the steps of generators.
func scanners(r *frontend.Result) []op.Edge {
	var all []op.Edge
	for _, p := range r.Platforms {
		if p.SBOM != nil && p.SBOM.Report != nil {
			all = append(all, *p.SBOM.Report)
		}
	}
	return all
}
