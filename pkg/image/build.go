package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Build makes the image. New layers are serialized by w, several at once; nothing of
// the base images is read.
func Build(ctx context.Context, s Spec, w *layer.Writer) (*Built, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	blobs, err := serialize(ctx, &s, w)
	if err != nil {
		return nil, err
	}
	b := &Built{options: s.Options, joined: s.makesIndex()}
	for i := range s.Platforms {
		img, err := newImage(&s.Platforms[i], blobs, &s.Options)
		if err != nil {
			return nil, inPlatform(&s, i, err)
		}
		b.images = append(b.images, img)
	}
	if b.joined {
		if b.index, err = newIndex(b.images, nil, &s.Options); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// inPlatform says which image an error is about, where there are several.
func inPlatform(s *Spec, i int, err error) error {
	if len(s.Platforms) == 1 {
		return err
	}
	return fmt.Errorf("platform %s: %w", formatPlatform(s.Platforms[i].Platform), err)
}

// written is a layer of the image in its serialized form.
type written struct {
	blob v1.Layer
	// made tells layers that are of a build's steps from those of base images.
	made bool
}

// Serialized reports whether l goes into an image as the blob that it is: because it is of a base image, or was made in
// this form.
func Serialized(l layer.Layer, form layer.Form) bool {
	if _, blob := l.(layer.Blob); !blob {
		return false
	}
	made, ok := l.(layer.Made)
	return !ok || made.Making().Form.Equal(form)
}

// serialize writes all layers that are no blobs yet, or were made in another form than is asked for.
// A layer that is in several images, or several times in one, is written once.
func serialize(ctx context.Context, s *Spec, w *layer.Writer) (map[layer.Layer]written, error) {
	blobs := map[layer.Layer]written{}
	form := s.Form()
	var todo []layer.Layer
	for _, p := range s.Platforms {
		for _, l := range p.Tree.Layers() {
			if _, seen := blobs[l]; seen {
				continue
			}
			_, made := l.(layer.Made)
			if Serialized(l, form) {
				blobs[l] = written{blob: l.(layer.Blob).Blob(), made: made}
				continue
			}
			blobs[l] = written{made: true}
			todo = append(todo, l)
		}
	}
	done := make([]v1.Layer, len(todo))
	g, ctx := errgroup.WithContext(ctx)
	// Compression itself uses all cores; more than a few layers at once only help
	// with their beginnings and ends.
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, l := range todo {
		g.Go(func() error {
			b, err := w.Write(ctx, l, form)
			if err != nil {
				return fmt.Errorf("writing layer: %w", err)
			}
			done[i] = b.Blob()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, l := range todo {
		blobs[l] = written{blob: done[i], made: true}
	}
	return blobs, nil
}

// Form is the form of new layers.
func (o *Options) Form() layer.Form {
	f := layer.Form{Compression: o.Compression}
	if o.Epoch != nil && !o.KeepLayerTimes {
		f.Epoch = o.Epoch.UTC()
	}
	return f
}

// Built is a finished image or index. Its layers are files in the state directory or lie where the
// base image lies; it is valid as long as those are.
type Built struct {
	options Options
	images  []*Image
	index   *Index
	joined  bool

	statements   [][]Statement  // by image
	attestations []*Attestation // by image
}

// Images are the images, in the order of the Spec.
func (b *Built) Images() []*Image { return b.images }

// Joined reports whether the images are those of several platforms, or shall look like it: then outputs of plain files keep them
// apart.
func (b *Built) Joined() bool { return b.joined }

// Index is the index around the images and their attestations; nil for a single image without one.
func (b *Built) Index() *Index { return b.index }

// Options are those that the image was built with.
func (b *Built) Options() Options { return b.options }

// Artifact is what the image's digest is the digest of: a v1.Image or a v1.ImageIndex.
type Artifact interface {
	RawManifest() ([]byte, error)
	Descriptor() (*v1.Descriptor, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	mediaTyper
}

// Artifact is the index, or the image where there is none.
func (b *Built) Artifact() Artifact {
	if b.index != nil {
		return b.index
	}
	return b.images[0]
}

// Digest is the digest that the image is known by.
func (b *Built) Digest() v1.Hash { return b.Descriptor().Digest }

// Descriptor describes the index, or the image where there is none.
func (b *Built) Descriptor() v1.Descriptor {
	if b.index != nil {
		return b.index.desc
	}
	return b.images[0].desc
}

// Single is the only image. It is an error if there are several, for outputs whose format
// holds just one.
func (b *Built) Single() (*Image, error) {
	if len(b.images) != 1 {
		return nil, errors.New("it holds images for several platforms")
	}
	return b.images[0], nil
}

// Layer is a line of the list of layers that is shown to users.
type Layer struct {
	v1.Descriptor
	DiffID v1.Hash
	// New tells layers of the build's steps from those of base images.
	New bool
	// CreatedBy is the history entry of the layer.
	CreatedBy string
}

// describe pairs layers with their history entries.
func describe(layers []Layer, config configHead) {
	i := 0
	for _, h := range config.History {
		if h.EmptyLayer || i >= len(layers) {
			continue
		}
		layers[i].CreatedBy = h.CreatedBy
		i++
	}
}

func indent(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
