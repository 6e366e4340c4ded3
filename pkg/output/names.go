package output

import (
	"encoding/json"
	"fmt"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/image"
)

// Annotations by which an index.json names its images.
const (
	refNameAnnotation   = "org.opencontainers.image.ref.name" // OCI image spec, annotations.md
	imageNameAnnotation = "io.containerd.image.name"          // what containerd and docker load import by
)

// layoutFile is the content of every layout's oci-layout (OCI image spec, image-layout.md).
const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// layoutName is an image's name in a layout: the tag that the specification wants, and the full
// name where there is one.
type layoutName struct{ tag, full string }

// layoutNames turns names into what index.json says.
func layoutNames(names []string) ([]layoutName, error) {
	var out []layoutName
	for _, n := range names {
		ref, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", n, err)
		}
		tagged, ok := reference.TagNameOnly(ref).(reference.NamedTagged)
		if !ok {
			return nil, fmt.Errorf("name %q: a digest cannot be chosen", n)
		}
		out = append(out, layoutName{tag: tagged.Tag(), full: tagged.String()})
	}
	return out, nil
}

// descriptors are the entries of index.json: one for each name, or one without.
func descriptors(b *image.Built, names []layoutName) []v1.Descriptor {
	base := b.Descriptor()
	if len(names) == 0 {
		return []v1.Descriptor{base}
	}
	var out []v1.Descriptor
	for _, n := range names {
		d := *base.DeepCopy()
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[refNameAnnotation] = n.tag
		d.Annotations[imageNameAnnotation] = n.full
		out = append(out, d)
	}
	return out
}

// indexJSON is index.json with these entries.
func indexJSON(manifests []v1.Descriptor) ([]byte, error) {
	return json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests})
}

// familiar is a full name as Docker shows it: without the default registry.
func familiar(full string) string {
	ref, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return full
	}
	return reference.FamiliarString(ref)
}
