package image

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Media types that the library has no names for.
const (
	dockerLayerZstd           types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	dockerForeignUncompressed types.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	ociForeignZstd            types.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
)

// layerKind is a layer's media type without its dialect.
type layerKind struct {
	compression string
	foreign     bool
}

// kindOf reads the media type of a layer in either dialect.
func kindOf(mt types.MediaType) (layerKind, bool) {
	switch mt {
	case types.OCIUncompressedLayer, types.DockerUncompressedLayer:
		return layerKind{"", false}, true
	case types.OCILayer, types.DockerLayer:
		return layerKind{"gzip", false}, true
	case types.OCILayerZStd, dockerLayerZstd:
		return layerKind{"zstd", false}, true
	case types.OCIUncompressedRestrictedLayer, dockerForeignUncompressed:
		return layerKind{"", true}, true
	case types.OCIRestrictedLayer, types.DockerForeignLayer:
		return layerKind{"gzip", true}, true
	case ociForeignZstd:
		return layerKind{"zstd", true}, true
	}
	return layerKind{}, false
}

func (k layerKind) oci() types.MediaType {
	switch k {
	case layerKind{"", false}:
		return types.OCIUncompressedLayer
	case layerKind{"gzip", false}:
		return types.OCILayer
	case layerKind{"zstd", false}:
		return types.OCILayerZStd
	case layerKind{"", true}:
		return types.OCIUncompressedRestrictedLayer
	case layerKind{"gzip", true}:
		return types.OCIRestrictedLayer
	}
	return ociForeignZstd
}

// docker is "" for what Docker has no media type for.
func (k layerKind) docker() types.MediaType {
	switch k {
	case layerKind{"", false}:
		return types.DockerUncompressedLayer
	case layerKind{"gzip", false}:
		return types.DockerLayer
	case layerKind{"zstd", false}:
		return dockerLayerZstd
	case layerKind{"", true}:
		return dockerForeignUncompressed
	case layerKind{"gzip", true}:
		return types.DockerForeignLayer
	}
	return ""
}

// layerType is the media type by which the image lists a layer of type mt: the same
// compression, in the image's own dialect.
func layerType(mt types.MediaType, o *Options) (types.MediaType, error) {
	kind, ok := kindOf(mt)
	if !ok {
		return "", fmt.Errorf("image: a base layer has media type %q, which is not that of a filesystem layer", mt)
	}
	kind.foreign = kind.foreign && o.KeepForeign
	if !o.Docker {
		return kind.oci(), nil
	}
	if converted := kind.docker(); converted != "" {
		return converted, nil
	}
	return "", fmt.Errorf("image: media type %q has no counterpart in Docker's media types: use OCI media types", mt)
}

func manifestType(o *Options) types.MediaType {
	if o.Docker {
		return types.DockerManifestSchema2
	}
	return types.OCIManifestSchema1
}

func configType(o *Options) types.MediaType {
	if o.Docker {
		return types.DockerConfigJSON
	}
	return types.OCIConfigJSON
}

func indexType(o *Options) types.MediaType {
	if o.Docker {
		return types.DockerManifestList
	}
	return types.OCIImageIndex
}
