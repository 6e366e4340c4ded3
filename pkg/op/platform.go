package op

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what an operation runs for, in the terms of the OCI image index.
type Platform struct {
	OS, Architecture, Variant, OSVersion string
	OSFeatures                           []string
}

// String gives the usual form, "linux/arm64/v8".
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return strings.Trim(s, "/")
}

// OCI is the platform in the type that packages of containerd and BuildKit take.
func (p Platform) OCI() ocispec.Platform {
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: slices.Clone(p.OSFeatures)}
}
