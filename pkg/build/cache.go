package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/location"
	"github.com/slipway-build/slipway/pkg/cache/mounts"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// CacheOptions say where results are kept between builds.
type CacheOptions struct {
	// From and To are stores, in the forms that docs/cache.md lists.
	From, To []string
	// TTL is the age at which a record is not used any more; 0 for no such age.
	TTL time.Duration
	// SkipCopies leaves out COPY and ADD, SkipRuns all other steps.
	SkipCopies, SkipRuns bool
	// WriteTimeout is how long the end of the build waits for what is being written; 0
	// for as long as it takes.
	WriteTimeout time.Duration
	// Mounts are the modes of cache mounts, as docs/cache.md has them; MountMaxSize bounds the
	// size of each, as "2g", "" for no bound.
	Mounts       []string
	MountMaxSize string
}

// openCache opens the stores, as far as that can be done without using them.
func (s *session) openCache(ctx context.Context) error {
	opened := map[string]cache.Store{} // a store that is named twice is one
	open := func(specs []string) ([]cache.Store, error) {
		var all []cache.Store
		for _, spec := range specs {
			store, known := opened[spec]
			if !known {
				var err error
				if store, err = s.openStore(ctx, spec); err != nil {
					return nil, err
				}
				opened[spec] = store
			}
			if store != nil {
				all = append(all, store)
			}
		}
		return all, nil
	}
	var err error
	if s.cacheFrom, err = open(s.Cache.From); err != nil {
		return err
	}
	if s.cacheTo, err = open(s.Cache.To); err != nil {
		return err
	}
	if inline, err := strconv.ParseBool(s.BuildArgs["BUILDKIT_INLINE_CACHE"]); err == nil && inline {
		s.note("BUILDKIT_INLINE_CACHE puts nothing into the image: its layers do not say what their steps read; give --cache or --cache-to")
	}
	return s.openMounts()
}

// openMounts prepares to keep cache mounts; s.mounts stays nil if none are kept.
func (s *session) openMounts() error {
	modes, err := mounts.ParseModes(s.Cache.Mounts)
	if err != nil {
		return err
	}
	var limit int64
	if s.Cache.MountMaxSize != "" {
		if limit, err = units.RAMInBytes(s.Cache.MountMaxSize); err != nil {
			return fmt.Errorf("size of cache mounts %q: %w", s.Cache.MountMaxSize, err)
		}
	}
	if !modes.Any() {
		return nil
	}
	if len(s.Cache.From)+len(s.Cache.To) == 0 {
		return errors.New("cache mounts can be kept only where there is a cache: give --cache, --cache-from or --cache-to")
	}
	s.mounts = mounts.New(mounts.Options{
		From: s.cacheFrom, To: s.cacheTo, Modes: modes, MaxSize: limit, State: s.state, Now: s.now,
		Warn: s.note,
	})
	return nil
}

// saveMounts keeps the cache mounts, unless the build was stopped.
func (s *session) saveMounts(ctx context.Context) error {
	if !s.mounts.Pending() || ctx.Err() != nil {
		return nil
	}
	if s.Cache.WriteTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Cache.WriteTimeout)
		defer cancel()
	}
	return s.display.Step(ctx, "saving cache mounts", func(ctx context.Context, _ io.Writer) error {
		s.mounts.Save(ctx)
		return nil
	})
}

// openStore opens the store that a user named; nil, with a warning, if it is the cache of another
// program, or a directory that can neither be used nor made.
func (s *session) openStore(ctx context.Context, spec string) (cache.Store, error) {
	store, err := location.Open(ctx, spec, location.Options{Registry: s.client})
	var (
		foreign *location.ForeignError
		denied  *fs.PathError
	)
	if errors.As(err, &foreign) || errors.As(err, &denied) {
		s.note("the build goes on without a cache: " + err.Error())
		return nil, nil
	}
	return store, err
}

// startCache prepares the cache of this build's graph; it stays nil if there are no stores.
func (s *session) startCache(ctx context.Context, graph *frontend.Result) {
	if len(s.cacheFrom) == 0 && len(s.cacheTo) == 0 {
		return
	}
	s.cache = cache.New(ctx, cache.Options{
		From: s.cacheFrom, To: s.cacheTo, TTL: s.Cache.TTL,
		SkipCopies: s.Cache.SkipCopies, SkipRuns: s.Cache.SkipRuns,
		// Whose cache it is says the store.
		Project: filepath.Base(s.plan.frontend.Filename) + " " + s.Target,
		Form:    s.form(graph), Now: s.now, State: s.state, Writer: s.writer,
		Warn: s.note,
	})
	if len(s.cacheTo) > 0 {
		s.closers = append(s.closers, func() error { return s.flushCache(ctx) })
	}
}

// form is the form in which the first output wants its layers: what the cache gets has to be written
// anyway then.
func (s *session) form(graph *frontend.Result) layer.Form {
	o := s.plan.image
	if len(s.outputs) > 0 {
		o = s.outputs[0].options
	}
	o = withEpoch(o, graph)
	return o.Form()
}

// withEpoch is o with the epoch that the Dockerfile asks for.
func withEpoch(o image.Options, graph *frontend.Result) image.Options {
	for _, p := range graph.Platforms {
		if p.Epoch != nil && !o.OwnEpoch {
			o.Epoch = p.Epoch
		}
	}
	return o
}

func (s *session) flushCache(ctx context.Context) error {
	if !s.cache.Pending() {
		return nil
	}
	var names []string
	for _, store := range s.cacheTo {
		names = append(names, store.String())
	}
	return s.display.Step(ctx, "writing cache to "+strings.Join(names, ", "), func(context.Context, io.Writer) error {
		s.cache.Flush(s.Cache.WriteTimeout)
		return nil
	})
}

// roots are the edges that the images are made of.
func roots(graph *frontend.Result, further ...*frontend.Result) []op.Edge {
	var all []op.Edge
	for _, r := range append([]*frontend.Result{graph}, further...) {
		for _, p := range r.Platforms {
			if p.Root != nil {
				all = append(all, *p.Root)
			}
		}
	}
	return all
}
