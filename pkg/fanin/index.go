package fanin

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/image"
)

// index is the index of the joined images. It implements v1.ImageIndex.
type index struct {
	mediaType types.MediaType
	digest    v1.Hash
	size      int64
	raw       []byte
	images    map[v1.Hash]v1.Image
}

var _ v1.ImageIndex = (*index)(nil)

// index writes the index of entries.
func (j *Join) index(entries []entry) (*index, error) {
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.DockerManifestList, Manifests: []v1.Descriptor{}}
	images := map[v1.Hash]v1.Image{}
	for _, e := range entries {
		m.Manifests = append(m.Manifests, e.desc)
		images[e.desc.Digest] = &notedImage{e.image.Image(), j.log, fmt.Sprintf("%s %s", e.name(), e.image)}
	}
	if err := j.annotate(&m, entries); err != nil {
		return nil, err
	}
	if needsOCI(&m) {
		m.MediaType = types.OCIImageIndex
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return &index{mediaType: m.MediaType, digest: digest, size: size, raw: raw, images: images}, nil
}

// annotate sets the annotations that were asked for; later ones win.
func (j *Join) annotate(m *v1.IndexManifest, entries []entry) error {
	for _, a := range j.annotations {
		if a.Target == image.OnIndex {
			set(&m.Annotations, a)
			continue
		}
		found := false
		for i, e := range entries {
			if e.attests() || (a.Platform != "" && a.Platform != e.platform().String()) {
				continue
			}
			found = true
			set(&m.Manifests[i].Annotations, a)
		}
		if !found {
			return fmt.Errorf("annotation %s: there is no image for platform %s", a.Key, a.Platform)
		}
	}
	return nil
}

func set(annotations *map[string]string, a image.Annotation) {
	if *annotations == nil {
		*annotations = map[string]string{}
	}
	(*annotations)[a.Key] = a.Value
}

// needsOCI reports whether Docker's manifest list cannot hold what the index says: it is for Docker's
// own manifests, and has no annotations.
func needsOCI(m *v1.IndexManifest) bool {
	if len(m.Annotations) > 0 {
		return true
	}
	for _, d := range m.Manifests {
		if d.MediaType != types.DockerManifestSchema2 || len(d.Annotations) > 0 || d.ArtifactType != "" {
			return true
		}
	}
	return false
}

// MediaType implements v1.ImageIndex.
func (x *index) MediaType() (types.MediaType, error) { return x.mediaType, nil }

// Digest implements v1.ImageIndex.
func (x *index) Digest() (v1.Hash, error) { return x.digest, nil }

// Size implements v1.ImageIndex: of the index itself, in bytes.
func (x *index) Size() (int64, error) { return x.size, nil }

// RawManifest implements v1.ImageIndex.
func (x *index) RawManifest() ([]byte, error) { return bytes.Clone(x.raw), nil }

// IndexManifest implements v1.ImageIndex.
func (x *index) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(x.raw))
}

// Image implements v1.ImageIndex.
func (x *index) Image(h v1.Hash) (v1.Image, error) {
	if i, ok := x.images[h]; ok {
		return i, nil
	}
	return nil, fmt.Errorf("index %s has no image %s", x.digest, h)
}

// ImageIndex implements v1.ImageIndex. Indexes in indexes have been resolved.
func (x *index) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("index %s has no index %s", x.digest, h)
}
