package image

import (
	"bytes"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Index joins the images of several platforms, and what is said about them. It implements v1.ImageIndex.
type Index struct {
	desc      v1.Descriptor
	raw       []byte
	manifests map[v1.Hash]v1.Image
}

var _ v1.ImageIndex = (*Index)(nil)

func newIndex(images []*Image, attestations []*Attestation, o *Options) (*Index, error) {
	x := &Index{manifests: map[v1.Hash]v1.Image{}}
	m := v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     indexType(o),
		Annotations:   o.annotations(OnIndex, nil),
	}
	for _, i := range images {
		m.Manifests = append(m.Manifests, i.desc)
		x.manifests[i.desc.Digest] = i
	}
	for _, a := range attestations {
		m.Manifests = append(m.Manifests, a.desc)
		x.manifests[a.desc.Digest] = a
	}
	var err error
	if x.raw, err = indent(m); err != nil {
		return nil, err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(x.raw))
	if err != nil {
		return nil, err
	}
	x.desc = v1.Descriptor{MediaType: m.MediaType, Digest: digest, Size: size, Annotations: o.annotations(OnIndexDescriptor, nil)}
	return x, nil
}

// Descriptor describes the index, with annotations.
func (x *Index) Descriptor() (*v1.Descriptor, error) { return x.desc.DeepCopy(), nil }

// MediaType implements v1.ImageIndex.
func (x *Index) MediaType() (types.MediaType, error) { return x.desc.MediaType, nil }

// Digest implements v1.ImageIndex.
func (x *Index) Digest() (v1.Hash, error) { return x.desc.Digest, nil }

// Size implements v1.ImageIndex: of the index itself, in bytes.
func (x *Index) Size() (int64, error) { return x.desc.Size, nil }

// IndexManifest implements v1.ImageIndex.
func (x *Index) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(x.raw))
}

// RawManifest implements v1.ImageIndex.
func (x *Index) RawManifest() ([]byte, error) { return bytes.Clone(x.raw), nil }

// Image implements v1.ImageIndex.
func (x *Index) Image(h v1.Hash) (v1.Image, error) {
	if i, ok := x.manifests[h]; ok {
		return i, nil
	}
	return nil, fmt.Errorf("index %s has no image %s", x.desc.Digest, h)
}

// ImageIndex implements v1.ImageIndex. There are no indexes in ours.
func (x *Index) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("index %s has no index %s", x.desc.Digest, h)
}
