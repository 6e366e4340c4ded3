package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/op"
)

// Image is an image for one platform whose layers have not been fetched.
type Image struct {
	// Ref is the reference that was resolved, with Digest.
	Ref string
	// Digest is what the reference named: the digest of an index, if it is one.
	Digest v1.Hash
	// Manifest describes the manifest of the platform's image.
	Manifest v1.Descriptor
	// Config is the image's config, verbatim.
	Config []byte
	// Layers are the layer blobs, lowest first. They remember where a registry can
	// mount them from.
	Layers []v1.Layer

	scope string
}

type imageKey struct{ where, id, platform string }

// Resolve looks an image up in its registry and picks the manifest for the platform. All calls of
// a build for one reference and platform give the same answer.
func (c *Client) Resolve(ctx context.Context, ref string, p op.Platform) (*Image, error) {
	const doing = "resolving image"
	r, err := c.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	img, err := c.resolve(ctx, r.Context().String(), r.Identifier(), p, c.pullFrom(r.Context()))
	if err != nil {
		return nil, wrap(doing, ref, err)
	}
	return img.named(ref), nil
}

// pullFrom opens the source that images of a repository are pulled from.
func (c *Client) pullFrom(repo name.Repository) func(context.Context) (source, error) {
	return func(ctx context.Context) (source, error) { return c.pullSource(ctx, repo) }
}

// ResolveLayout looks an image up in the local layout or archive called store (see
// [Options.Layouts]). id is a digest, a name that the layout gives the image, or "" where it
// holds only one.
func (c *Client) ResolveLayout(ctx context.Context, store, id string, p op.Platform) (*Image, error) {
	img, err := c.resolve(ctx, "oci-layout "+store, id, p, func(ctx context.Context) (source, error) {
		return c.layout(ctx, store)
	})
	if err != nil {
		return nil, wrap("resolving image", strings.TrimSuffix("oci-layout://"+store+"@"+id, "@"), err)
	}
	return img.named(store), nil
}

// layout opens the local layout or archive called store.
func (c *Client) layout(ctx context.Context, store string) (source, error) {
	return c.layouts.Do(ctx, c.ctx, store, func(ctx context.Context) (source, error) {
		path, ok := c.opts.Layouts[store]
		if !ok {
			return nil, failure(NotFound, "no layout of this name was given")
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			return openLayout(path)
		}
		return openArchive(ctx, path, c.opts.State)
	})
}

// named returns the image under the name that it was asked for by.
func (i *Image) named(ref string) *Image {
	n := *i
	n.Ref, _, _ = strings.Cut(ref, "@")
	n.Ref += "@" + i.Digest.String()
	return &n
}

// resolve finds the image called id in a source, once for each source, id and platform.
func (c *Client) resolve(ctx context.Context, where, id string, p op.Platform, open func(context.Context) (source, error)) (*Image, error) {
	key := imageKey{where: where, id: id, platform: platforms.FormatAll(p.OCI())}
	return c.images.Do(ctx, c.ctx, key, func(ctx context.Context) (*Image, error) {
		named, err := c.lookUp(ctx, where, id, open)
		if err != nil {
			return nil, err
		}
		img, err := pick(ctx, named.src, named.desc, named.raw, p, 0)
		if err != nil {
			return nil, err
		}
		img.Digest = named.desc.Digest
		// Who resolved a tag asks for the layers by digest next.
		key.id = img.Digest.String()
		c.images.Keep(key, img)
		return img, nil
	})
}

// maxNesting bounds indexes in indexes. The specification allows them; nobody needs many.
const maxNesting = 4

// pick finds the platform's image in what desc and raw are: an index, or the image itself, which
// is taken whatever its platform is, as BuildKit does: the frontend warns about that.
func pick(ctx context.Context, src source, desc v1.Descriptor, raw []byte, p op.Platform, depth int) (*Image, error) {
	switch {
	case desc.MediaType.IsIndex():
		return pickFromIndex(ctx, src, raw, p, depth)
	case desc.MediaType.IsImage():
		return readImage(ctx, src, desc, raw)
	}
	return nil, unsupportedType(desc.MediaType)
}

// unsupportedType says what is wrong with a manifest that is neither an image's nor an index's.
func unsupportedType(mt types.MediaType) error {
	if mt.IsSchema1() {
		return failure(Unsupported, "it is in Docker's schema 1 format, which was replaced in 2015: pull and push it once with a current tool to convert it")
	}
	return failure(Unsupported, "%q is not the media type of a container image", mt)
}

func tooDeep() error { return fmt.Errorf("indexes are nested more than %d deep", maxNesting) }

func pickFromIndex(ctx context.Context, src source, raw []byte, p op.Platform, depth int) (*Image, error) {
	if depth >= maxNesting {
		return nil, tooDeep()
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, failure(Invalid, "the index is damaged: %w", err)
	}
	for _, d := range candidates(&index, p) {
		desc, raw, err := src.manifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		img, err := pick(ctx, src, desc, raw, p, depth+1)
		if err != nil {
			return nil, err
		}
		if d.Platform != nil || img.runsOn(p) {
			return img, nil
		}
	}
	return nil, noPlatformError(&index, p)
}

func (i *Image) runsOn(p op.Platform) bool {
	var own v1.Platform
	return json.Unmarshal(i.Config, &own) == nil && platforms.Only(p.OCI()).Match(fromV1(own))
}

func readImage(ctx context.Context, src source, desc v1.Descriptor, raw []byte) (*Image, error) {
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, failure(Invalid, "the manifest is damaged: %w", err)
	}
	config, err := readBlob(ctx, src, m.Config, configLimit)
	if err != nil {
		return nil, fmt.Errorf("reading the image's config: %w", err)
	}
	var c struct {
		RootFS struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, failure(Invalid, "its config is not that of a container image: %w", err)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return nil, failure(Invalid, "its manifest has %d layers but its config lists %d", len(m.Layers), len(c.RootFS.DiffIDs))
	}
	img := &Image{Manifest: desc, Config: config, Layers: make([]v1.Layer, len(m.Layers)), scope: src.layerScope()}
	for i, l := range m.Layers {
		if err := validDescriptor(l); err != nil {
			return nil, err
		}
		img.Layers[i], err = newBlob(ctx, src, l, c.RootFS.DiffIDs[i])
		if err != nil {
			return nil, err
		}
	}
	return img, nil
}

// blob is a blob of a source that an image consists of: a partial.CompressedLayer that also knows
// its descriptor. ctx bounds its reading.
type blob struct {
	ctx  context.Context
	src  source
	desc v1.Descriptor
}

// layerBlob is a blob that is known to be a filesystem layer.
type layerBlob struct {
	*blob
	diffID v1.Hash
}

// newBlob makes a lazy layer. ctx bounds its reading.
func newBlob(ctx context.Context, src source, desc v1.Descriptor, diffID v1.Hash) (v1.Layer, error) {
	return mountable(src, &layerBlob{&blob{ctx, src, desc}, diffID})
}

// mountable makes a layer of a blob, which knows the registry that can mount it.
func mountable(src source, b partial.CompressedLayer) (v1.Layer, error) {
	l, err := partial.CompressedToLayer(b)
	if err != nil {
		return nil, err
	}
	if origin := src.origin(); origin != nil {
		return &remote.MountableLayer{Layer: l, Reference: origin}, nil
	}
	return l, nil
}

func (b *layerBlob) DiffID() (v1.Hash, error) { return b.diffID, nil }

func (b *blob) Digest() (v1.Hash, error)            { return b.desc.Digest, nil }
func (b *blob) Size() (int64, error)                { return b.desc.Size, nil }
func (b *blob) MediaType() (types.MediaType, error) { return b.desc.MediaType, nil }
func (b *blob) Descriptor() (*v1.Descriptor, error) { return &b.desc, nil }
func (b *blob) Compressed() (io.ReadCloser, error)  { return b.open() }

func (b *blob) open() (io.ReadCloser, error) {
	fail := func(err error) error { return wrap("reading layer", b.name(), err) }
	r, err := b.src.open(b.ctx, b.desc)
	if err != nil {
		return nil, fail(err)
	}
	v, err := newVerifier(r, b.desc)
	if err != nil {
		return nil, errors.Join(fail(err), r.Close())
	}
	return joinedCloser{readerFunc(func(p []byte) (int, error) {
		n, err := v.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			err = fail(err)
		}
		return n, err
	}), r}, nil
}

func (b *blob) name() string {
	if o := b.src.origin(); o != nil {
		return o.Context().Digest(b.desc.Digest.String()).String()
	}
	return b.desc.Digest.String()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
