package build

import (
	"context"
	"encoding/json"
	"fmt"
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
	files := s.plan.results
	files.Other = []results.File{
		{Path: s.IIDFile, Content: id},
		{Path: s.MetadataFile, Content: metadata},
	}
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
