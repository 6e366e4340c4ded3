package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

type mediaTyper interface {
	MediaType() (types.MediaType, error)
}

// Image is the image for one platform. It implements v1.Image.
type Image struct {
	desc     v1.Descriptor
	platform v1.Platform
	tree     *tree.Tree
	manifest []byte
	config   []byte
	layers   []v1.Layer
	list     []Layer
}

var _ v1.Image = (*Image)(nil)

func newImage(p *Platform, blobs map[layer.Layer]written, o *Options) (*Image, error) {
	img := &Image{tree: p.Tree}
	var diffIDs []v1.Hash
	layers := p.Tree.Layers()
	for _, l := range layers {
		if err := img.add(blobs[l], o); err != nil {
			return nil, err
		}
		diffIDs = append(diffIDs, img.list[len(img.list)-1].DiffID)
	}
	info, err := layerInfo(p, layers, o)
	if err != nil {
		return nil, err
	}
	config, head, err := patchConfig(p, diffIDs, info, o)
	if err != nil {
		return nil, err
	}
	describe(img.list, head)
	img.config = config
	img.platform = p.Platform
	if img.platform.OS == "" {
		img.platform = v1.Platform{OS: head.OS, Architecture: head.Architecture, Variant: head.Variant, OSVersion: head.OSVersion, OSFeatures: head.OSFeatures}
	}
	return img, img.seal(o)
}

// layerInfo is what is known about the layers: what p says, else what they say themselves, and of those
// of the base image, that they are as old as it.
func layerInfo(p *Platform, layers []layer.Layer, o *Options) ([]LayerInfo, error) {
	var base configHead
	if len(p.Base) > 0 {
		if err := json.Unmarshal(p.Base, &base); err != nil {
			return nil, fmt.Errorf("base image config: %w", err)
		}
	}
	info := make([]LayerInfo, len(layers))
	copy(info, p.Info)
	for i := range info {
		if !info[i].Created.IsZero() {
			continue
		}
		made, isMade := layers[i].(layer.Made)
		_, isBlob := layers[i].(layer.Blob)
		switch {
		case isMade:
			info[i].Created = made.Making().Created
		case isBlob && base.Created != nil:
			info[i].Created = *base.Created
		default:
			info[i].Created = o.Now
		}
	}
	return info, nil
}

// add appends a layer.
func (i *Image) add(w written, o *Options) error {
	desc, err := partial.Descriptor(w.blob)
	if err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	diffID, err := w.blob.DiffID()
	if err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	mt, err := layerType(desc.MediaType, o)
	if err != nil {
		return err
	}
	own := v1.Descriptor{MediaType: mt, Size: desc.Size, Digest: desc.Digest, Annotations: layerAnnotations(desc.Annotations, o)}
	if w.made && o.Epoch != nil && !o.KeepLayerTimes && !o.Docker {
		// As BuildKit notes it, which then need not do it again.
		own.Annotations = map[string]string{"buildkit/rewritten-timestamp": strconv.FormatInt(o.Epoch.Unix(), 10)}
	}
	if !mt.IsDistributable() {
		own.URLs = desc.URLs
	}
	i.layers = append(i.layers, mountable(w.blob, mt))
	i.list = append(i.list, Layer{Descriptor: own, DiffID: diffID, New: w.made})
	return nil
}

// layerAnnotations keeps what the base image says about a layer, but for what containerd and
// BuildKit note for themselves. Docker's format has none.
func layerAnnotations(in map[string]string, o *Options) map[string]string {
	if o.Docker || len(in) == 0 {
		return nil
	}
	out := maps.Clone(in)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return k == "containerd.io/uncompressed" || k == "buildkit/createdat" || strings.HasPrefix(k, "containerd.io/distribution.source.")
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

// seal makes the manifest.
func (i *Image) seal(o *Options) error {
	configDigest, configSize, err := v1.SHA256(bytes.NewReader(i.config))
	if err != nil {
		return err
	}
	m := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     manifestType(o),
		Config:        v1.Descriptor{MediaType: configType(o), Digest: configDigest, Size: configSize},
		Layers:        []v1.Descriptor{}, // not null for an image without layers
		Annotations:   o.annotations(OnManifest, &i.platform),
	}
	for _, l := range i.list {
		m.Layers = append(m.Layers, l.Descriptor)
	}
	if i.manifest, err = indent(m); err != nil {
		return err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(i.manifest))
	if err != nil {
		return err
	}
	i.desc = v1.Descriptor{
		MediaType: m.MediaType, Digest: digest, Size: size,
		Annotations: o.annotations(OnManifestDescriptor, &i.platform),
		Platform:    &i.platform,
	}
	return nil
}

// Platform is the platform that the image is for.
func (i *Image) Platform() v1.Platform { return i.platform }

// Tree is the image's root filesystem.
func (i *Image) Tree() *tree.Tree { return i.tree }

// List returns what is known about the layers, lowest first, in a slice of the caller's own.
func (i *Image) List() []Layer { return append([]Layer(nil), i.list...) }

// Descriptor describes the manifest, with platform and annotations.
func (i *Image) Descriptor() (*v1.Descriptor, error) { return i.desc.DeepCopy(), nil }

// Layers implements v1.Image. Layers that a registry can mount from another of its
// repositories are *remote.MountableLayer.
func (i *Image) Layers() ([]v1.Layer, error) { return append([]v1.Layer(nil), i.layers...), nil }

// MediaType implements v1.Image.
func (i *Image) MediaType() (types.MediaType, error) { return i.desc.MediaType, nil }

// Size implements v1.Image: of the manifest, in bytes.
func (i *Image) Size() (int64, error) { return i.desc.Size, nil }

// ConfigName implements v1.Image.
func (i *Image) ConfigName() (v1.Hash, error) { return partial.ConfigName(i) }

// ConfigFile implements v1.Image.
func (i *Image) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }

// RawConfigFile implements v1.Image.
func (i *Image) RawConfigFile() ([]byte, error) { return bytes.Clone(i.config), nil }

// Digest implements v1.Image.
func (i *Image) Digest() (v1.Hash, error) { return i.desc.Digest, nil }

// Manifest implements v1.Image.
func (i *Image) Manifest() (*v1.Manifest, error) { return partial.Manifest(i) }

// RawManifest implements v1.Image.
func (i *Image) RawManifest() ([]byte, error) { return bytes.Clone(i.manifest), nil }

// LayerByDigest implements v1.Image; as in the library, the config counts as a layer here.
func (i *Image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	for n, l := range i.list {
		if l.Digest == h {
			return i.layers[n], nil
		}
	}
	if name, err := i.ConfigName(); err != nil || name == h {
		if err != nil {
			return nil, err
		}
		return partial.ConfigLayer(i)
	}
	return nil, fmt.Errorf("image %s has no layer %s", i.desc.Digest, h)
}

// LayerByDiffID implements v1.Image.
func (i *Image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	for n, l := range i.list {
		if l.DiffID == h {
			return i.layers[n], nil
		}
	}
	return nil, fmt.Errorf("image %s has no layer with diff id %s", i.desc.Digest, h)
}

// mountable gives a layer the media type of the image, and keeps it mountable if it comes from a
// registry.
func mountable(l v1.Layer, mt types.MediaType) v1.Layer {
	typed := retyped{l, mt}
	origin := l
	if s, ok := l.(interface{ Source() v1.Layer }); ok { // as layer.FromBlob has it
		origin = s.Source()
	}
	if m, ok := origin.(*remote.MountableLayer); ok {
		return &remote.MountableLayer{Layer: typed, Reference: m.Reference}
	}
	return typed
}

type retyped struct {
	v1.Layer
	mediaType types.MediaType
}

// MediaType implements v1.Layer.
func (r retyped) MediaType() (types.MediaType, error) { return r.mediaType, nil }
