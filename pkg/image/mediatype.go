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

var layerKinds = map[types.MediaType]layerKind{
	types.OCIUncompressedLayer:           {"", false},
	types.OCILayer:                       {"gzip", false},
	types.OCILayerZStd:                   {"zstd", false},
	types.OCIUncompressedRestrictedLayer: {"", true},
	types.OCIRestrictedLayer:             {"gzip", true},
	ociForeignZstd:                       {"zstd", true},
	types.DockerUncompressedLayer:        {"", false},
	types.DockerLayer:                    {"gzip", false},
	dockerLayerZstd:                      {"zstd", false},
	dockerForeignUncompressed:            {"", true},
	types.DockerForeignLayer:             {"gzip", true},
}

var ociLayers = map[layerKind]types.MediaType{
	{"", false}:     types.OCIUncompressedLayer,
	{"gzip", false}: types.OCILayer,
	{"zstd", false}: types.OCILayerZStd,
	{"", true}:      types.OCIUncompressedRestrictedLayer,
	{"gzip", true}:  types.OCIRestrictedLayer,
	{"zstd", true}:  ociForeignZstd,
}

var dockerLayers = map[layerKind]types.MediaType{
	{"", false}:     types.DockerUncompressedLayer,
	{"gzip", false}: types.DockerLayer,
	{"zstd", false}: dockerLayerZstd,
	{"", true}:      dockerForeignUncompressed,
	{"gzip", true}:  types.DockerForeignLayer,
}

// layerType is the media type by which the image lists a layer of type mt: the same
// compression, in the image's own dialect.
func layerType(mt types.MediaType, o *Options) (types.MediaType, error) {
	kind, ok := layerKinds[mt]
	if !ok {
		return "", fmt.Errorf("image: a base layer has media type %q, which is not that of a filesystem layer", mt)
	}
	kind.foreign = kind.foreign && o.KeepForeign
	table := ociLayers
	if o.Docker {
		table = dockerLayers
	}
	converted, ok := table[kind]
	if !ok {
		return "", fmt.Errorf("image: media type %q has no counterpart in Docker's media types: use OCI media types", mt)
	}
	return converted, nil
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
