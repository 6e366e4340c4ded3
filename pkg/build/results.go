package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/results"
)

// writeResults writes everything that tells others what was built, as the last thing.
func (s *session) writeResults(ctx context.Context, r *Result) error {
	if err := s.writeDockerFiles(r); err != nil {
		return err
	}
	delivered := results.Image{Destinations: r.Pushed, Digest: r.Digest, Pushed: len(r.Pushed) > 0}
	if !delivered.Pushed {
		delivered.Destinations = s.Tags // Kaniko's files name them all the same
	}
	warnings, err := s.plan.results.Write(ctx, delivered)
	for _, w := range warnings {
		s.display.Warn(progress.Warning{Level: 1, Short: w})
	}
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}

// writeDockerFiles writes --iidfile and --metadata-file as docker buildx does.
func (s *session) writeDockerFiles(r *Result) error {
	if s.IIDFile != "" {
		id := r.Digest
		if images := r.Image.Images(); r.Image.Index() == nil {
			config, err := images[0].ConfigName()
			if err != nil {
				return err
			}
			id = config.String()
		}
		if err := replaceFile(s.IIDFile, []byte(id)); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if s.MetadataFile == "" {
		return nil
	}
	desc := r.Image.Descriptor()
	metadata := map[string]any{
		"containerimage.digest":     r.Digest,
		"containerimage.descriptor": desc,
	}
	if r.Image.Index() == nil {
		config, err := r.Image.Images()[0].ConfigName()
		if err != nil {
			return err
		}
		metadata["containerimage.config.digest"] = config.String()
	}
	if len(s.Tags) > 0 {
		metadata["image.name"] = strings.Join(s.Tags, ",")
	}
	data, err := json.MarshalIndent(metadata, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(s.MetadataFile, append(data, '\n')); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}

// replaceFile writes a file through a temporary one, so that it is never there half.
func replaceFile(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".slipway-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the error that matters is the one returned
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		_ = tmp.Close() // as above
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		_ = tmp.Close() // as above
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
