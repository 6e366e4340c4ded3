package op

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/pkg/tree"
)

// Image is a base image: FROM, COPY --from=image, --mount=from=image.
type Image struct {
	// Ref is the reference with its digest, "docker.io/library/alpine:3.20@sha256:…".
	Ref      string
	Platform Platform
	// Layout names the OCI layout that the image comes from instead of a registry;
	// "" for a registry.
	Layout string
}

// Key implements Op: the manifest's digest and the platform. Where the image was found, and by
// which tag, does not matter.
func (i *Image) Key(context.Context, *Env, []Input) (Key, error) {
	_, digest, pinned := strings.Cut(i.Ref, "@")
	if !pinned {
		return Key{}, fmt.Errorf("base image %s is not pinned by digest", i.Ref)
	}
	return newKey("image").str(digest).str(i.Platform.String()).sum(), nil
}

// Run implements Op.
func (i *Image) Run(ctx context.Context, env *Env, _ []Input) ([]*tree.Tree, error) {
	layers, err := env.Images.Layers(ctx, i)
	if err != nil {
		return nil, err
	}
	return []*tree.Tree{tree.New(layers...)}, nil
}
