// Package image turns what a build computed, a config and a tree for each platform, into the
// final image: layers serialized, config and history completed, manifests and, for several
// platforms, an index. Config and history come out as BuildKit's image exporter writes them,
// so that the image is the one that "docker build" would have made.
//
// The same inputs give the same digest, on any machine.
package image

import (
	"errors"
	"fmt"
	"time"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Spec says what image is to be made.
type Spec struct {
	// Platforms are the images, at least one; with several an index joins them, in this
	// order.
	Platforms []Platform
	// Index asks for an index around a single image, too.
	Index bool
	Options
}

// Platform is the image for one platform.
type Platform struct {
	// Platform is what the index says about the image. With a zero value it is taken
	// from the config.
	Platform v1.Platform
	// Config is the image config that the frontend made, as JSON. Fields that we do not
	// know are kept. Its rootfs is replaced. nil stands for the default config of the
	// platform.
	Config []byte
	// Base is the config of the base image, as JSON, nil for none. History that the
	// image shares with it keeps its times whatever Epoch is.
	Base []byte
	// Tree is the root filesystem. Layers of it that are blobs already, as those of
	// the base image and of the cache are, stay as they are; others are serialized.
	Tree *tree.Tree
	// Info is what is known about the layers of Tree, lowest first. It may be
	// shorter than the stack; what is missing counts as zero.
	Info []LayerInfo
}

// LayerInfo is where a layer comes from.
type LayerInfo struct {
	// Created is when the operation that made the layer ended. The zero time leaves
	// it to history and [Options.Now].
	Created time.Time
	// Description stands in for a history entry where the config has none.
	Description string
}

// Options are what outputs may ask for. Two outputs with equal options can share one [Built].
type Options struct {
	// Now is the created time of layers about which nothing else is known. UTC, and
	// as fine as time.Time.
	Now time.Time
	// Epoch is SOURCE_DATE_EPOCH, nil if it is not set: no time in config, history and
	// new layers is later. Base layers are never changed.
	Epoch *time.Time
	// OwnEpoch says that Epoch is meant for this output alone, also if it is nil, whatever
	// the build or the Dockerfile says.
	OwnEpoch bool
	// KeepLayerTimes leaves the times of files in new layers as they are, even with an
	// Epoch (rewrite-timestamp=false).
	KeepLayerTimes bool
	// Labels are added to those of the config.
	Labels map[string]string
	// Annotations are set on manifests, descriptors and the index.
	Annotations []Annotation
	// Compression of new layers; the zero value is gzip.
	Compression compression.Options
	// Docker asks for Docker's media types instead of OCI's.
	Docker bool
	// KeepForeign leaves non-distributable base layers marked as such; they are not
	// pushed then. By default they become ordinary layers, as with BuildKit.
	KeepForeign bool
}

func (s *Spec) validate() error {
	if len(s.Platforms) == 0 {
		return errors.New("image: no platform to build for")
	}
	if err := s.Compression.Validate(); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	seen := map[string]bool{}
	for _, p := range s.Platforms {
		id := formatPlatform(p.Platform)
		if seen[id] {
			return fmt.Errorf("image: platform %s is listed twice", id)
		}
		seen[id] = true
	}
	return s.validateAnnotations(seen)
}

// makesIndex reports whether the result is an index.
func (s *Spec) makesIndex() bool { return s.Index || len(s.Platforms) > 1 }

// formatPlatform is the platform in its normal form, by which annotations name it.
func formatPlatform(p v1.Platform) string { return platforms.FormatAll(normalize(p)) }

func normalize(p v1.Platform) ocispec.Platform { return platforms.Normalize(OCIPlatform(p)) }

// OCIPlatform is a platform in the type that packages of containerd and BuildKit take.
func OCIPlatform(p v1.Platform) ocispec.Platform {
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}
