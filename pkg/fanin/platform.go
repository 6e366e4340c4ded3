package fanin

import (
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/image"
)

// platform is a platform in normal form: linux/arm64 for linux/aarch64 and linux/arm64/v8.
type platform ocispec.Platform

func normalize(p v1.Platform) platform {
	return platform(platforms.Normalize(image.OCIPlatform(p)))
}

// String gives the platform as --platform takes it.
func (p platform) String() string { return platforms.FormatAll(ocispec.Platform(p)) }

// covers reports whether an image for other is one for p. Versions and features of the operating
// system count only if p states them: Windows has several images for one windows/amd64.
func (p platform) covers(other platform) bool {
	if p.OS != other.OS || p.Architecture != other.Architecture || p.Variant != other.Variant {
		return false
	}
	if p.OSVersion != "" && p.OSVersion != other.OSVersion {
		return false
	}
	return !slices.ContainsFunc(p.OSFeatures, func(f string) bool { return !slices.Contains(other.OSFeatures, f) })
}

func parsePlatforms(values []string) ([]platform, error) {
	var all []platform
	for _, v := range values {
		p, err := platforms.Parse(v)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", v, err)
		}
		all = append(all, platform(platforms.Normalize(p)))
	}
	return all, nil
}
