package frontend

import (
	"maps"
	"slices"
	"sync"

	dockerfileversion "github.com/moby/buildkit/frontend/dockerfile/version"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
)

// Used is what the frontend was told and has looked at, beside what is in the graph.
type Used struct {
	// Options are those that it got, by its names.
	Options map[string]string
	// Version is that of the Dockerfile language, "1.28.0".
	Version string
	// Edges are the places of the graph whose files it has looked at, such as the Dockerfile.
	Edges []op.Edge
	// Images are those that it looked up.
	Images []UsedImage
}

// UsedImage is an image that was looked up.
type UsedImage struct {
	// Ref is as it was asked for, Digest that of the manifest, or of the index that it was chosen from.
	Ref      string
	Digest   digest.Digest
	Platform op.Platform
	Layout   bool // from an OCI layout
}

// usage collects what is used while the frontend runs.
type usage struct {
	mu     sync.Mutex
	edges  []op.Edge
	images []UsedImage
}

func (u *usage) noteEdge(e op.Edge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.edges, e) {
		u.edges = append(u.edges, e)
	}
}

func (u *usage) noteImage(ref string, dgst digest.Digest, p op.Platform, layout bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.images = append(u.images, UsedImage{Ref: ref, Digest: dgst, Platform: p, Layout: layout})
}

func (u *usage) used(options map[string]string) Used {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Used{
		Options: maps.Clone(options), Version: dockerfileversion.Version(),
		Edges: slices.Clone(u.edges), Images: slices.Clone(u.images),
	}
}
