package registry

import (
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/op"
)

// candidates returns the entries of an index that run on the platform, best first, by the
// rules that containerd and BuildKit have (platforms.Only): arm/v7 also takes v6 and v5,
// amd64/v3 also v2, v1 and 386, arm64 also 32-bit arm. Entries that state no platform come
// last; whether they run shows in their config.
func candidates(index *v1.IndexManifest, want op.Platform) []v1.Descriptor {
	m := platforms.Only(want.OCI())
	var fit, unknown []v1.Descriptor
	for _, d := range index.Manifests {
		switch {
		case d.MediaType != "" && !d.MediaType.IsImage() && !d.MediaType.IsIndex():
		case d.Platform == nil:
			unknown = append(unknown, d)
		case m.Match(fromV1(*d.Platform)):
			fit = append(fit, d)
		}
	}
	slices.SortStableFunc(fit, func(a, b v1.Descriptor) int {
		pa, pb := fromV1(*a.Platform), fromV1(*b.Platform)
		switch {
		case m.Less(pa, pb):
			return -1
		case m.Less(pb, pa):
			return 1
		}
		return 0
	})
	return append(fit, unknown...)
}

func noPlatformError(index *v1.IndexManifest, want op.Platform) error {
	var have []string
	for _, d := range index.Manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			have = append(have, platforms.FormatAll(fromV1(*d.Platform)))
		}
	}
	if len(have) == 0 {
		have = []string{"none"}
	}
	return failure(NoPlatform, "there is no image for platform %s: it exists for %s", want, strings.Join(have, ", "))
}

func fromV1(p v1.Platform) ocispec.Platform {
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// IsAttestation reports whether an entry of an index is no image but something about one: BuildKit lists those under a platform of
// this name.
func IsAttestation(d *v1.Descriptor) bool {
	return d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}
