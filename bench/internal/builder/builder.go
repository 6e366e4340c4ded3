// Package builder runs the programs that are compared.
package builder

import (
	"context"

	"github.com/slipway-build/slipway/bench/internal/usage"
)

// Job is one build.
type Job struct {
	// Context is the directory with the Dockerfile.
	Context string
	// Disk is an empty directory for all that the builder writes.
	Disk string
	// Image is what is pushed, Cache the repository of a cache, "" for none.
	Image, Cache string
	// Args are the build arguments.
	Args map[string]string
	// Registry is the registry's host, which speaks HTTP.
	Registry string
}

// Builder is a program that builds and pushes an image.
type Builder interface {
	// Name is for the report.
	Name() string
	// Build does a job with nothing that earlier builds left on this machine, and tells what it used. What a daemon needs before
	// it serves is not counted.
	Build(ctx context.Context, j *Job) (usage.Usage, error)
}
