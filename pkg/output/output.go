// Package output brings finished images to where they are wanted: registries, OCI layouts, tar
// archives and local directories.
//
// Every output works in two steps, so that several of them succeed or fail together: Prepare
// does all the work where nobody looks, and Commit makes its result visible by a rename or
// by writing a tag.
package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/image"
)

// Output is one place that an image is written to.
type Output interface {
	// String says what the output does, for progress displays: "pushing to …".
	String() string
	// Prepare does everything but showing the result. If it fails, it has cleaned up.
	Prepare(ctx context.Context, b *image.Built) (Pending, error)
}

// Checker is an output that can find out early, while the image is being made, that it could not be written. ctx ends when
// nobody wants to know any more.
type Checker interface {
	Check(ctx context.Context) error
}

// Pending is a prepared output. Either Commit or Abort is called, once.
type Pending interface {
	// Commit makes the result visible. If it fails, it has cleaned up what it can.
	Commit(ctx context.Context) (*Result, error)
	// Abort removes what Prepare left.
	Abort() error
}

// Result is what an output wrote.
type Result struct {
	// Pushed are the references in registries, as the user wrote them, in their order.
	Pushed []Pushed
	// Path is the file or directory that was written, "" for a registry and "-" for
	// the standard output.
	Path string
	// Notes are one-line remarks for the user, such as attributes that a local directory
	// could not take.
	Notes []string
}

// Pushed is a reference that the registry has.
type Pushed struct {
	Ref    string
	Digest v1.Hash
}

// Job is an image for an output.
type Job struct {
	Output Output
	Image  *image.Built
}

// Write runs the jobs: it prepares all of them in parallel, and only if none failed it commits
// them, those first that may still fail. The results come in the order of the jobs.
func Write(ctx context.Context, jobs ...Job) ([]*Result, error) {
	pending, err := prepare(ctx, jobs)
	if err != nil {
		return nil, err
	}
	results := make([]*Result, len(jobs))
	for _, i := range commitOrder(pending) {
		p := pending[i]
		pending[i] = nil
		if results[i], err = p.Commit(ctx); err != nil {
			return nil, errors.Join(inOutput(jobs[i].Output, err), abort(pending))
		}
	}
	return results, nil
}

// commitOrder puts tags before files, because a network fails more often than a rename, and the
// standard output last: what is written there can be neither prepared nor taken back.
func commitOrder(pending []Pending) []int {
	rank := func(i int) int {
		switch pending[i].(type) {
		case *pendingTags:
			return 0
		case *pendingStream:
			return 2
		}
		return 1
	}
	order := make([]int, len(pending))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank(a), rank(b)) })
	return order
}

func prepare(ctx context.Context, jobs []Job) ([]Pending, error) {
	pending := make([]Pending, len(jobs))
	g, ctx := errgroup.WithContext(ctx)
	for i, j := range jobs {
		g.Go(func() error {
			p, err := j.Output.Prepare(ctx, j.Image)
			pending[i] = p
			return inOutput(j.Output, err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, abort(pending))
	}
	return pending, nil
}

func abort(pending []Pending) error {
	var errs []error
	for _, p := range pending {
		if p != nil {
			errs = append(errs, p.Abort())
		}
	}
	return errors.Join(errs...)
}

func inOutput(o Output, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", o, err)
}
