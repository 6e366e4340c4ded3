// Package workload says what the benchmarks build.
package workload

import (
	"context"
	"os"
	"path/filepath"
)

// Workload is a build.
type Workload struct {
	Name string
	// About says in half a sentence what it is.
	About string
	// Dockerfile finds the bases as $REGISTRY/NAME:base, and what it downloads at http://$MIRROR/NAME/.
	Dockerfile string
	// Context fills the directory of the build's context beside the Dockerfile; nil for nothing.
	Context func(ctx context.Context, dir string) error
	// Want are paths of files that new layers have, without a leading slash.
	Want []string
	// Cached builds once before, to a cache in the registry, which the measured build then has.
	Cached bool
	// Change changes the context between those two; nil for no change.
	Change func(dir string) error
}

// Write makes the context of w in the new directory dir.
func (w *Workload) Write(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if w.Context != nil {
		if err := w.Context(ctx, dir); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(w.Dockerfile), 0o644)
}
