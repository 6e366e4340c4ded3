package sbom

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Options are what [Scan] needs beside the tree.
type Options struct {
	// State is where contents are spooled that cannot be read in place.
	State *state.Dir
	// Warn is told what could not be read; never twice at a time. It may be nil.
	Warn func(string)
}

const (
	// maxScanners bounds how many files are looked at at the same time, and with it the memory
	// that they take.
	maxScanners = 4
	// maxWarnings is how many files are named that could not be read.
	maxWarnings = 10
	// maxPackages is how many packages are listed. No real tree has so many.
	maxPackages = 200_000
)

// Scan finds the packages of t. Of the layers only those are read that have a file in which
// packages may be recorded, and only such files are opened.
//
// A file that is broken or too large gives a warning, and what else there is still counts. Errors
// are those of getting at the layers, and that ctx has ended.
func Scan(ctx context.Context, t *tree.Tree, o Options) (*Inventory, error) {
	v, err := t.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for packages: %w", err)
	}
	finders, err := finders(o.State)
	if err != nil {
		return nil, fmt.Errorf("looking for packages: %w", err)
	}
	s := &scan{
		options: o,
		fs:      &treeFS{ctx: ctx, view: v, state: o.State, limit: maxSideFile},
	}
	found, err := s.extractAll(ctx, candidates(v, finders))
	if err != nil {
		return nil, fmt.Errorf("looking for packages: %w", err)
	}
	s.flushWarnings()
	return newInventory(found, distribution(s.fs)), nil
}

// scan is one call of [Scan].
type scan struct {
	options Options
	fs      *treeFS

	mu       sync.Mutex
	warnings int
}

// warn tells of a file that could not be read.
func (s *scan) warn(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings++
	if s.options.Warn != nil && s.warnings <= maxWarnings {
		s.options.Warn(fmt.Sprintf("bill of materials: /%s is not counted in full: %v", path, err))
	}
}

// flushWarnings says how many warnings were not given.
func (s *scan) flushWarnings() {
	if n := s.warnings - maxWarnings; n > 0 && s.options.Warn != nil {
		s.options.Warn(fmt.Sprintf("bill of materials: %d more files are not counted in full", n))
	}
}

// extractAll returns the packages of all files, in the order of the files.
func (s *scan) extractAll(ctx context.Context, files []*file) ([]Package, error) {
	perFile := make([][]Package, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(maxScanners, runtime.GOMAXPROCS(0)))
	for i, f := range files {
		group.Go(func() (err error) {
			perFile[i], err = s.extract(ctx, f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []Package
	for i, found := range perFile {
		if len(all)+len(found) > maxPackages {
			s.warn(files[i].path, fmt.Errorf("there are more than %d packages", maxPackages))
			continue
		}
		all = append(all, found...)
	}
	return all, nil
}

// extract returns the packages of one file. Only a content that cannot be had at all, and the
// end of the context, are errors.
func (s *scan) extract(ctx context.Context, f *file) (out []Package, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	finders := s.withinLimits(f)
	if len(finders) == 0 {
		return nil, nil
	}
	c, err := f.open(ctx, finders, s.options.State)
	switch {
	case errors.Is(err, errTooLarge):
		s.warn(f.path, err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading /%s: %w", f.path, err)
	case c == nil:
		return nil, nil
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, finder := range finders {
		found, err := s.run(ctx, finder, f, c)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			s.warn(f.path, err)
		}
		for _, p := range found {
			if p, ok := convert(p, f); ok {
				out = append(out, p)
			}
		}
	}
	return out, c.verify()
}

// withinLimits returns the finders of the file that it is not too large for.
func (s *scan) withinLimits(f *file) []*finder {
	size := f.node.Entry().Size
	var out []*finder
	for _, d := range f.finders {
		if size > d.limit {
			s.warn(f.path, fmt.Errorf("it has %d bytes, of which %d are the most that is read", size, d.limit))
			continue
		}
		out = append(out, d)
	}
	return out
}
