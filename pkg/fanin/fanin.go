// Package fanin joins images that lie in registries, most often one for each platform as the legs of a
// matrix built them, into one image index, and pushes that. The images are not changed: the index
// names them by their digests, and what the target repository lacks of them is copied.
//
// The same images in the same order give the same index, byte for byte.
package fanin

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/sign"
	"github.com/slipway-build/slipway/results"
)

// Options say what to join and where it goes. The strings are those of the command line flags;
// docs/index-command.md describes each.
type Options struct {
	// Images are references of images and of indexes, in the order of the result.
	Images []string
	Tags   []string
	// Annotations are for the index, or with a prefix for the descriptors in it.
	Annotations []string
	// Platforms are those that there must be images for, no more and no fewer; none if any will do.
	Platforms []string
	// Sign says how the index and the images in it are signed before a tag names them; the zero value leaves that out.
	Sign sign.Options
	// NoPush writes the index to Stdout instead of pushing it.
	NoPush bool

	Registry registry.Options
	Results  results.Files

	Stdout   io.Writer
	Progress io.Writer // gets a line for each thing that is done
}

// Result is what was made.
type Result struct {
	// Digest is that of the index.
	Digest string
	// Pushed are the references that name the index in their registries now, as the user
	// wrote them.
	Pushed []string
}

// Join is one joining of images.
type Join struct {
	Options
	client      *registry.Client
	to          *registry.Destinations
	annotations []image.Annotation
	expected    []platform
	signer      *sign.Signer // nil if nothing is signed
	log         *log
}

// New checks the options. Its errors are mistakes in the call, but for a [sign.ServiceError]: it contacts nobody, unless an identity token
// for signing has to be asked for.
func New(ctx context.Context, o Options) (_ *Join, err error) {
	j := &Join{Options: o, log: &log{w: o.Progress}}
	o.Registry.Warn = j.log.warn
	if j.client, err = registry.New(ctx, o.Registry); err != nil {
		return nil, err
	}
	if err := j.checkImages(); err != nil {
		return nil, err
	}
	if len(o.Tags) == 0 && !o.NoPush {
		return nil, errors.New("the index would go nowhere: give --tag, or --no-push to only see it")
	}
	if j.to, err = j.client.Destinations(o.Tags); err != nil {
		return nil, err
	}
	if j.expected, err = parsePlatforms(o.Platforms); err != nil {
		return nil, err
	}
	if j.annotations, err = parseAnnotations(o.Annotations); err != nil {
		return nil, err
	}
	if err := j.Results.Check(); err != nil {
		return nil, err
	}
	return j, j.openSigner(ctx)
}

func (j *Join) checkImages() error {
	if len(j.Images) == 0 {
		return errors.New("there is no image to join: give references as arguments or with --image")
	}
	for n, ref := range j.Images {
		if ref == "" {
			// A leg of a matrix whose result is empty: leaving it out would lose a platform.
			return fmt.Errorf("the reference of image %d of %d is empty", n+1, len(j.Images))
		}
		if _, err := j.client.ParseReference(ref); err != nil {
			return err
		}
	}
	return nil
}

// parseAnnotations reads --annotation; an index that is joined can be annotated itself, and describe
// its images, but not change them.
func parseAnnotations(values []string) ([]image.Annotation, error) {
	var all []image.Annotation
	for _, v := range values {
		parsed, err := image.ParseIndexAnnotation(v)
		if err != nil {
			return nil, err
		}
		for _, a := range parsed {
			if a.Target != image.OnIndex && a.Target != image.OnManifestDescriptor {
				return nil, fmt.Errorf("annotation %q: joining images annotates the index or, with %s, its entries, and not the %s", v, image.OnManifestDescriptor, a.Target)
			}
		}
		all = append(all, parsed...)
	}
	return all, nil
}

// Run joins the images. It returns when everything is written; tags come after everything that they
// name and its signatures, and results last. On an error there are neither.
func (j *Join) Run(ctx context.Context) (*Result, error) {
	entries, err := j.find(ctx)
	if err != nil {
		return nil, err
	}
	if entries, err = j.choose(entries); err != nil {
		return nil, err
	}
	x, err := j.index(entries)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		j.log.printf("%s %s", e.name(), e.image)
	}
	res := &Result{Digest: x.digest.String()}
	if j.NoPush {
		j.log.printf("index %s, not pushed", x.digest)
		if _, err := j.Stdout.Write(x.raw); err != nil {
			return nil, fmt.Errorf("writing the index: %w", err)
		}
		return res, j.writeResults(ctx, res)
	}
	if err := j.to.Push(ctx, x); err != nil {
		return nil, err
	}
	if err := j.sign(ctx, x, entries); err != nil {
		return nil, err
	}
	if err := j.to.Tag(ctx, x); err != nil {
		return nil, err
	}
	res.Pushed = j.to.Written()
	for _, ref := range res.Pushed {
		j.log.printf("pushed %s@%s", ref, x.digest)
	}
	return res, j.writeResults(ctx, res)
}

func (j *Join) writeResults(ctx context.Context, r *Result) error {
	warnings, err := j.Results.Write(ctx, results.Image{
		Destinations: j.Tags, // Kaniko's files name them even if they were not pushed
		Digest:       r.Digest,
		Pushed:       len(r.Pushed) > 0,
	})
	for _, w := range warnings {
		j.log.warn(w)
	}
	if err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}
