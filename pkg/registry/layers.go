package registry

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

var _ op.Images = (*Client)(nil)

type layerKey struct {
	scope          string
	digest, diffID v1.Hash
}

// Layers implements op.Images. Layers of equal digest are one object, so that images with a
// common base share its index.
func (c *Client) Layers(ctx context.Context, img *op.Image) ([]layer.Layer, error) {
	resolved, err := c.pinned(ctx, img)
	if err != nil {
		return nil, err
	}
	layers := make([]layer.Layer, len(resolved.Layers))
	for i, blob := range resolved.Layers {
		if layers[i], err = c.layer(ctx, resolved.scope, blob); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

func (c *Client) pinned(ctx context.Context, img *op.Image) (*Image, error) {
	if img.Layout == "" {
		return c.Resolve(ctx, img.Ref, img.Platform)
	}
	return c.ResolveLayout(ctx, img.Layout, layoutID(img.Ref), img.Platform)
}

func (c *Client) layer(ctx context.Context, scope string, blob v1.Layer) (layer.Layer, error) {
	digest, err := blob.Digest()
	if err != nil {
		return nil, err
	}
	diffID, err := blob.DiffID()
	if err != nil {
		return nil, err
	}
	return c.layers.Do(ctx, c.ctx, layerKey{scope, digest, diffID}, func(context.Context) (layer.Layer, error) {
		return layer.FromBlob(blob, c.opts.State), nil
	})
}

// ResolveImage answers the frontend: ref with its digest, that digest, and the config of the
// image for the platform. With a layout, ref is looked up there and not in a registry. mode is
// BuildKit's resolve mode; there are no images but those of registries and layouts, so all
// modes are one.
func (c *Client) ResolveImage(ctx context.Context, ref string, p op.Platform, mode, layout string) (pinned string, dgst digest.Digest, config []byte, err error) {
	switch mode {
	case "", "default", "pull", "local":
	default:
		return "", "", nil, fmt.Errorf("unknown image resolve mode %q", mode)
	}
	var img *Image
	if layout == "" {
		img, err = c.Resolve(ctx, ref, p)
	} else {
		img, err = c.ResolveLayout(ctx, layout, layoutID(ref), p)
	}
	if err != nil {
		return "", "", nil, err
	}
	name, _, _ := strings.Cut(ref, "@")
	return name + "@" + img.Digest.String(), digest.Digest(img.Digest.String()), img.Config, nil
}

// layoutID is the part of a reference to a layout that the layout knows: its digest, else its
// tag.
func layoutID(ref string) string {
	if _, digest, ok := strings.Cut(ref, "@"); ok {
		return digest
	}
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[i+1:]
	}
	return ""
}
