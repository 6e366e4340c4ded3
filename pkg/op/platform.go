package op

import "strings"

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
