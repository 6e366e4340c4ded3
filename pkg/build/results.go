package build

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	imageref "github.com/distribution/reference"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/results"
)

// writeResults writes everything that tells others what was built, as the last thing and all
// or nothing.
func (s *session) writeResults(ctx context.Context, r *Result) error {
	id, err := imageID(r)
	if err != nil {
		return err
	}
	metadata, err := s.metadata(r)
	if err != nil {
		return err
	}
	files := s.resultFiles(id, metadata)
	delivered := results.Image{Destinations: r.Pushed, Digest: r.Digest, Pushed: len(r.Pushed) > 0}
	if !delivered.Pushed {
		delivered.Destinations = s.Tags // Kaniko's files name them all the same
	}
	extra, err := s.artifacts(r)
	if err != nil {
		return err
	}
	warnings, err := files.Write(ctx, delivered, extra...)
	for _, w := range warnings {
		s.display.Warn(progress.Warning{Level: 1, Short: w})
	}
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}

// artifacts are the results about what the image was made of and what is said about it.
func (s *session) artifacts(r *Result) ([]results.Result, error) {
	extra := []results.Result{{Name: results.BaseImages, Value: strings.Join(r.bases, ",")}}
	if r.base != nil {
		repo, digest, err := repositoryOf(r.base.Ref)
		if err != nil {
			return nil, err
		}
		extra = append(extra, results.Result{Name: results.BaseImageArtifactInputs, Value: results.Artifact(repo, digest, false)})
	}
	if len(r.Pushed) == 0 {
		return extra, nil
	}
	repo, _, err := repositoryOf(r.Pushed[0])
	if err != nil {
		return nil, err
	}
	var boms []string
	for i := range r.Image.Images() {
		a := r.Image.Attestation(i)
		if a == nil {
			continue
		}
		said := slices.IndexFunc(r.Image.Statements(i), func(s image.Statement) bool { return isSBOM(s.PredicateType) })
		if said >= 0 {
			boms = append(boms, repo+"@"+a.List()[said].Digest.String())
		}
	}
	return append(extra, results.Result{Name: results.SBOMBlobURL, Value: strings.Join(boms, ",")}), nil
}

// isSBOM reports whether statements of a type hold a bill of materials.
func isSBOM(predicateType string) bool {
	return strings.HasPrefix(predicateType, "https://spdx.dev/Document") || strings.HasPrefix(predicateType, "https://cyclonedx.org/bom")
}

// repositoryOf takes a reference apart; digest is "" if it has none.
func repositoryOf(ref string) (repository, digest string, err error) {
	name, digest, _ := strings.Cut(ref, "@")
	parsed, err := imageref.ParseNormalizedNamed(name)
	if err != nil {
		return "", "", fmt.Errorf("results: image %s: %w", ref, err)
	}
	return parsed.Name(), digest, nil
}

// usedImages are the base image of the first platform and all images that a build has used, sorted, in the form NAME:TAG@DIGEST.
func usedImages(graph *frontend.Result, further ...*frontend.Result) (base *op.Image, all []string) {
	for _, v := range vertices(graph, further...) {
		if i, ok := v.Op.(*op.Image); ok && i.Layout == "" {
			all = append(all, i.Ref)
		}
	}
	slices.Sort(all)
	for _, p := range graph.Platforms[:min(1, len(graph.Platforms))] {
		if p.Root != nil {
			base = op.Base(*p.Root)
		}
	}
	if base != nil && base.Layout != "" {
		base = nil
	}
	return base, slices.Compact(all)
}

// resultFiles are the files of the outcome of an image with that id and metadata.
func (s *session) resultFiles(id, metadata string) results.Files {
	files := s.plan.results
	files.Other = []results.File{
		{Path: s.IIDFile, Content: id},
		{Path: s.MetadataFile, Content: metadata},
	}
	return files
}

// probeResults finds out whether results can be written while nothing is built yet: after a push it is too late,
// since tags cannot be taken back.
func (s *session) probeResults() error {
	if s.Check {
		return nil // there will be none
	}
	files := s.resultFiles("the id", "the metadata")
	pushes := slices.ContainsFunc(s.outputs, func(t target) bool { return t.pushes })
	if err := files.Probe(pushes); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}

// imageID is what Docker calls the id of an image: the digest of its config, or that of the index.
func imageID(r *Result) (string, error) {
	if r.Image.Index() != nil {
		return r.Digest, nil
	}
	config, err := r.Image.Images()[0].ConfigName()
	return config.String(), err
}

// metadata is the content of --metadata-file, in the form of docker buildx.
func (s *session) metadata(r *Result) (string, error) {
	m := map[string]any{
		"containerimage.digest":     r.Digest,
		"containerimage.descriptor": r.Image.Descriptor(),
	}
	if r.Image.Index() == nil {
		id, err := imageID(r)
		if err != nil {
			return "", err
		}
		m["containerimage.config.digest"] = id
	}
	names := r.Pushed
	if len(names) == 0 {
		names = s.Tags
	}
	if len(names) > 0 {
		m["image.name"] = strings.Join(names, ",")
	}
	data, err := json.MarshalIndent(m, "", "  ")
	return string(data) + "\n", err
}
