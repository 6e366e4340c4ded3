package bases

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"github.com/slipway-build/slipway/pkg/frontend"
)

// contexts are what builds take in place of images, by the images' familiar names, which may have "::PLATFORM" appended.
type contexts map[string]string

func newContexts(named map[string]string) (contexts, error) {
	c := contexts{}
	for name, value := range named {
		image, platform, _ := strings.Cut(name, "::")
		key, err := familiarName(image)
		if err != nil {
			return nil, fmt.Errorf("name of build context %q: %w", name, err)
		}
		if platform != "" {
			p, err := parsePlatforms([]string{platform})
			if err != nil {
				return nil, fmt.Errorf("name of build context %q: %w", name, err)
			}
			key += "::" + p[0].String()
		}
		c[key] = value
	}
	return c, nil
}

// imageFor is the image that a build fetches for what its Dockerfile names; false if there is none.
func (c contexts) imageFor(b frontend.Base) (string, bool) {
	name, err := familiarName(b.Image)
	if err != nil { // it is named where it fails to be fetched
		return b.Image, true
	}
	value, ok := c[name+"::"+b.Platform.String()]
	if !ok {
		value, ok = c[name]
	}
	if !ok {
		return b.Image, true
	}
	return strings.CutPrefix(value, "docker-image://")
}

// familiarName is "alpine" for "docker.io/library/alpine:latest".
func familiarName(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest"), nil
}
