package registry

import (
	"bytes"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is the image for pushing it elsewhere, verbatim. Its digest, size and media type are known; the
// rest is fetched when it is asked for, bounded by the client's life. Layers and config
// are mounted by a registry that has them already. What is no layer of a filesystem, as in attestations,
// is copied all the same.
func (s *Stored) Image() v1.Image { return &storedImage{s} }

type storedImage struct{ stored *Stored }

func (i *storedImage) fail(err error) error {
	return wrap("reading image", i.stored.String(), err)
}

// MediaType implements v1.Image.
func (i *storedImage) MediaType() (types.MediaType, error) {
	return i.stored.Descriptor.MediaType, nil
}

// Digest implements v1.Image.
func (i *storedImage) Digest() (v1.Hash, error) { return i.stored.Descriptor.Digest, nil }

// Size implements v1.Image: of the manifest, in bytes.
func (i *storedImage) Size() (int64, error) { return i.stored.Descriptor.Size, nil }

// Descriptor describes the manifest, with platform and annotations.
func (i *storedImage) Descriptor() (*v1.Descriptor, error) {
	return i.stored.Descriptor.DeepCopy(), nil
}

// RawManifest implements v1.Image.
func (i *storedImage) RawManifest() ([]byte, error) {
	raw, err := i.stored.raw(i.stored.client.ctx)
	return bytes.Clone(raw), i.fail(err)
}

// Manifest implements v1.Image.
func (i *storedImage) Manifest() (*v1.Manifest, error) {
	m, err := i.stored.manifest(i.stored.client.ctx)
	return m, i.fail(err)
}

// Layers implements v1.Image.
func (i *storedImage) Layers() ([]v1.Layer, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	layers := make([]v1.Layer, len(m.Layers))
	for n, d := range m.Layers {
		if layers[n], err = i.layer(d); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

func (i *storedImage) layer(d v1.Descriptor) (v1.Layer, error) {
	if err := validDescriptor(d); err != nil {
		return nil, i.fail(err)
	}
	l, err := mountable(i.stored.src, &blob{i.stored.client.ctx, i.stored.src, d})
	return l, i.fail(err)
}

// ConfigLayer is the config as a blob (see partial.ConfigLayer).
func (i *storedImage) ConfigLayer() (v1.Layer, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	return i.layer(m.Config)
}

// RawConfigFile implements v1.Image.
func (i *storedImage) RawConfigFile() ([]byte, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	raw, err := readBlob(i.stored.client.ctx, i.stored.src, m.Config, configLimit)
	return raw, i.fail(err)
}

// ConfigName implements v1.Image.
func (i *storedImage) ConfigName() (v1.Hash, error) {
	m, err := i.Manifest()
	if err != nil {
		return v1.Hash{}, err
	}
	return m.Config.Digest, nil
}

// ConfigFile implements v1.Image.
func (i *storedImage) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }

// LayerByDigest implements v1.Image; as in the library, the config counts as a layer here.
func (i *storedImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if d.Digest == h {
			return i.layer(d)
		}
	}
	return nil, i.fail(fmt.Errorf("it has no layer %s", h))
}

// LayerByDiffID implements v1.Image.
func (i *storedImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	digest, err := partial.DiffIDToBlob(i, h)
	if err != nil {
		return nil, i.fail(err)
	}
	return i.LayerByDigest(digest)
}
