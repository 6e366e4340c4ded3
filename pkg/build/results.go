package build

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
	warnings, err := files.Write(ctx, delivered)
	for _, w := range warnings {
		s.display.Warn(progress.Warning{Level: 1, Short: w})
	}
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
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
