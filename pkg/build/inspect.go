package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/frontend"
)

// Inspection is what [Inspect] looks for in a Dockerfile.
type Inspection string

// The inspections: the build graph, and the subrequests of BuildKit's frontend.
const (
	InspectGraph    Inspection = ""
	InspectLint     Inspection = "frontend.lint"
	InspectOutline  Inspection = "frontend.outline"
	InspectTargets  Inspection = "frontend.targets"
	InspectRequests Inspection = "frontend.subrequests.describe"
)

// Inspected is what [Inspect] found. For anything but InspectGraph, the answer is in the result's
// Metadata.
type Inspected struct {
	*frontend.Result
	// Cache says of steps, by their vertices' ids, whether their results are in the cache; nil if none
	// was asked.
	Cache map[string]cache.Status
}

// Inspect evaluates the Dockerfile as a build does, and executes nothing: of images, only manifests
// and configs are fetched. Of the options, those count that say what is built, from which
// registries, and for InspectGraph which caches are asked; there are no results.
func Inspect(ctx context.Context, o Options, what Inspection) (_ *Inspected, err error) {
	s := &session{Options: o, now: time.Now().UTC()}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.check(); err != nil {
		return nil, &UsageError{err}
	}
	if err := s.openInputs(ctx); err != nil {
		return nil, err
	}
	s.plan.frontend.Request = string(what)
	s.Cache.To, s.Cache.Mounts = nil, nil // nothing is kept
	if err := s.openCache(ctx); err != nil {
		return nil, &UsageError{err}
	}
	s.startSolver(ctx)
	found := &Inspected{}
	if found.Result, err = frontend.Build(ctx, s.plan.frontend, s.solver, s.images, nil); err != nil || what != InspectGraph {
		return found, err
	}
	s.startCache(ctx, found.Result)
	if s.cache != nil {
		found.Cache, err = s.cache.Plan(ctx, s.env, vertices(found.Result), roots(found.Result))
	}
	return found, err
}

// CheckError says that the checks of a Dockerfile found something.
type CheckError struct {
	Warnings int
}

// Error implements error.
func (e *CheckError) Error() string {
	if e.Warnings == 1 {
		return "the Dockerfile has 1 check warning"
	}
	return fmt.Sprintf("the Dockerfile has %d check warnings", e.Warnings)
}

// PrintLint writes what the checks found, as the frontend puts it: as text with the lines around, or
// as JSON. It returns a [CheckError] if there are warnings, and what kept the checks from seeing
// all of the Dockerfile.
func PrintLint(w io.Writer, r *frontend.Result, asJSON bool) error {
	if err := PrintAnswer(w, r, asJSON); err != nil {
		return err
	}
	switch {
	case r.Lint.Err != nil:
		return r.Lint.Err
	case r.Lint.Warnings > 0:
		return &CheckError{Warnings: r.Lint.Warnings}
	}
	return nil
}

// PrintAnswer writes the frontend's answer to a subrequest, as text or as JSON.
func PrintAnswer(w io.Writer, r *frontend.Result, asJSON bool) error {
	key, end := "result.txt", ""
	if asJSON {
		key, end = "result.json", "\n"
	}
	answer, ok := r.Metadata[key]
	if !ok {
		return fmt.Errorf("the frontend's answer has no %s", key)
	}
	_, err := io.WriteString(w, string(answer)+end)
	return err
}
