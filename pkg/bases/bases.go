// Package bases keeps base images in a directory, for "slipway cache warm": an OCI layout that many builds read at once
// (see registry.Options.WarmDir), and that may be written meanwhile.
package bases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/policy/sigstore"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Options say which images are fetched, and where they are kept. docs/cache.md describes the flags of these names.
type Options struct {
	// Images are references of images.
	Images []string
	// Dockerfile is the path of a file of which the images are fetched that it names; "" for none. A relative one is
	// below Context.
	Dockerfile, Context string
	BuildArgs           map[string]string
	// BuildContexts are what builds of it take in place of images, by their names, as "docker-image://REF" or anything else.
	BuildContexts map[string]string
	// Platforms are those that builds will be for; none for the one of this machine.
	Platforms []string

	Dir string
	// TTL is the age at which what is there is fetched again, 0 for never; Force is whether it is at any age.
	TTL   time.Duration
	Force bool

	// PolicyFile and PolicyMode say which images may be fetched, as in a build.
	PolicyFile, PolicyMode string

	Registry registry.Options
	Log      io.Writer // gets a line for each image
}

// base is an image for a platform.
type base struct {
	ref      string
	platform op.Platform
}

func (b base) String() string { return b.ref + " for " + b.platform.String() }

// Warming is one fetching of images.
type Warming struct {
	Options
	client   *registry.Client
	guard    *policy.Guard // nil if all images are allowed
	targets  []op.Platform
	contexts contexts
	dir      *directory
	mu       sync.Mutex // of Log
}

// New checks the options. It contacts nobody; its errors are mistakes in the call.
func New(ctx context.Context, o Options) (_ *Warming, err error) {
	w := &Warming{Options: o}
	o.Registry.Warn = func(m string) { w.printf("warning: %s", m) }
	if w.client, err = registry.New(ctx, o.Registry); err != nil {
		return nil, err
	}
	if len(o.Images) == 0 && o.Dockerfile == "" {
		return nil, errors.New("there is nothing to fetch: give images as arguments or with --image, or a --dockerfile")
	}
	if err := w.setPolicy(ctx, o.Registry.Warn); err != nil {
		return nil, err
	}
	if w.contexts, err = newContexts(o.BuildContexts); err != nil {
		return nil, err
	}
	w.targets, err = parsePlatforms(o.Platforms)
	return w, err
}

// setPolicy sets a guard before the registry client, if there is a policy.
func (w *Warming) setPolicy(ctx context.Context, warn func(string)) error {
	mode, err := policy.ParseMode(w.PolicyMode)
	if err != nil || w.PolicyFile == "" {
		return err
	}
	p, err := policy.LoadImages(w.PolicyFile)
	if err != nil {
		return err
	}
	w.guard = policy.NewGuard(ctx, w.client, p, mode, sigstore.New(ctx, w.client), warn)
	return nil
}

// Run fetches the images that are not in the directory yet. It is an error only if none of them can be had; each that
// cannot is named in the log.
func (w *Warming) Run(ctx context.Context) (err error) {
	bases, err := w.bases()
	if err != nil {
		return err
	}
	now := time.Now()
	if w.dir, err = openDirectory(ctx, w.Dir, now); err != nil {
		return fmt.Errorf("directory of base images %s: %w", w.Dir, err)
	}
	defer func() { err = errors.Join(err, w.dir.Close()) }()
	switch {
	case w.Force:
		w.dir.oldest = now
	case w.TTL > 0:
		w.dir.oldest = now.Add(-w.TTL)
	}
	return w.warmAll(ctx, bases)
}

// bases lists the images, each once.
func (w *Warming) bases() ([]base, error) {
	var list []base
	seen := map[string]bool{}
	add := func(ref string, p op.Platform) {
		b := base{ref, p}
		if !seen[b.String()] {
			seen[b.String()] = true
			list = append(list, b)
		}
	}
	for _, ref := range w.Images {
		for _, p := range w.targets {
			add(ref, p)
		}
	}
	if w.Dockerfile == "" {
		return list, nil
	}
	file := w.Dockerfile
	if !filepath.IsAbs(file) {
		file = filepath.Join(w.Context, file)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	for _, p := range w.targets {
		found, err := frontend.Bases(w.Dockerfile, content, w.BuildArgs, host(), p)
		if err != nil {
			return nil, err
		}
		for _, b := range found {
			if ref, ok := w.contexts.imageFor(b); ok {
				add(ref, b.Platform)
			}
		}
	}
	return list, nil
}

func parsePlatforms(values []string) ([]op.Platform, error) {
	if len(values) == 0 {
		return []op.Platform{host()}, nil
	}
	var all []op.Platform
	for _, v := range values {
		p, err := platforms.Parse(v)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", v, err)
		}
		all = append(all, fromSpec(p))
	}
	return all, nil
}

func host() op.Platform { return fromSpec(platforms.DefaultSpec()) }

func fromSpec(p ocispec.Platform) op.Platform {
	p = platforms.Normalize(p)
	return op.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

func (w *Warming) printf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.Log, format+"\n", args...)
}

// warmAll fetches images one after the other: the layers of one keep a network busy.
func (w *Warming) warmAll(ctx context.Context, bases []base) error {
	var failures []error
	for _, b := range bases {
		err := w.warm(ctx, b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			continue
		}
		failures = append(failures, err)
		if len(bases) > 1 {
			w.printf("%s: %v", b, err)
		}
	}
	switch {
	case len(bases) == 0:
		w.printf("%s names no image", w.Dockerfile)
	case len(failures) == len(bases) && len(bases) > 1:
		return fmt.Errorf("none of %d base images could be fetched; the first: %w", len(bases), failures[0])
	case len(failures) == len(bases):
		return failures[0]
	case len(failures) > 0:
		w.printf("%d of %d base images could not be fetched", len(failures), len(bases))
	}
	return nil
}

func (w *Warming) warm(ctx context.Context, b base) error {
	name, err := fullName(b.ref)
	if err != nil {
		return err
	}
	ref := b.ref
	if w.guard != nil {
		if ref, err = w.guard.Admit(ctx, b.ref, b.platform); err != nil {
			return err
		}
	}
	before := w.dir.fetched.Load()
	image, err := w.client.Fetch(ctx, ref, b.platform, w.dir)
	if err != nil {
		return err
	}
	got := w.dir.fetched.Load() - before
	if err := w.dir.name(ctx, name, image); err != nil {
		return err
	}
	if got == 0 {
		w.printf("%s: %s is there", b, image.Digest)
		return nil
	}
	w.printf("%s: %s, fetched %s", b, image.Digest, units.BytesSize(float64(got)))
	return nil
}

// fullName is what a reference is called in index.json, with registry and tag.
func fullName(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %s: %w", ref, err)
	}
	return reference.TagNameOnly(named).String(), nil
}
