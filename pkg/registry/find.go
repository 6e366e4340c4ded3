package registry

import (
	"context"
	"encoding/json"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/op"
)

// Found is what a reference names. Nothing has been read for it but that.
type Found struct {
	// Digest is that of the manifest or the index that the reference names.
	Digest v1.Hash
	// Manifest is the digest of the platform's manifest: in the index, or Digest itself. It is zero where only the
	// configs of images could tell which it is.
	Manifest v1.Hash
	// Places are the repositories that have it, for who asks for what belongs to it: the one that gave it comes first, and after
	// it those that would be asked if it had not.
	Places []name.Repository
}

// Find looks up what a reference names. The client remembers it: what is resolved later is the same.
func (c *Client) Find(ctx context.Context, ref string, p op.Platform) (*Found, error) {
	r, err := c.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	n, err := c.lookUp(ctx, r.Context().String(), r.Identifier(), c.pullFrom(r.Context()))
	if err != nil {
		return nil, wrap("resolving image", ref, err)
	}
	manifest, err := n.manifestFor(p)
	if err != nil {
		return nil, wrap("resolving image", ref, err)
	}
	return &Found{Digest: n.desc.Digest, Manifest: manifest, Places: places(n.src)}, nil
}

// Local says where the local layout or archive called store is, and whether it is an OCI layout, or an archive of one.
func (c *Client) Local(ctx context.Context, store string) (path string, isLayout bool, err error) {
	src, err := c.layout(ctx, store)
	if err != nil {
		return "", false, wrap("opening image", "oci-layout://"+store, err)
	}
	_, isLayout = src.(*layoutSource)
	return c.opts.Layouts[store], isLayout, nil
}

// named is what an id means in a source.
type named struct {
	src  source
	desc v1.Descriptor
	raw  []byte
}

type namedKey struct{ where, id string }

// lookUp finds out what an id means in a source, once for each.
func (c *Client) lookUp(ctx context.Context, where, id string, open func(context.Context) (source, error)) (*named, error) {
	return c.named.Do(ctx, c.ctx, namedKey{where, id}, func(ctx context.Context) (*named, error) {
		src, err := open(ctx)
		if err != nil {
			return nil, err
		}
		desc, raw, err := src.manifest(ctx, id)
		if err != nil {
			return nil, err
		}
		n := &named{src, desc, raw}
		c.named.Keep(namedKey{where, desc.Digest.String()}, n)
		return n, nil
	})
}

// manifestFor is the digest of the manifest that pick would take, if that can be told.
func (n *named) manifestFor(p op.Platform) (v1.Hash, error) {
	if !n.desc.MediaType.IsIndex() {
		return n.desc.Digest, nil
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(n.raw, &index); err != nil {
		return v1.Hash{}, failure(Invalid, "the index is damaged: %w", err)
	}
	all := candidates(&index, p)
	if len(all) == 0 || all[0].Platform == nil || all[0].MediaType.IsIndex() {
		return v1.Hash{}, nil
	}
	return all[0].Digest, nil
}

// located is a source that is in repositories of registries.
type located interface {
	// repositories lists them, the one that is best asked first.
	repositories() []name.Repository
}

func places(src source) []name.Repository {
	if l, ok := src.(located); ok {
		return l.repositories()
	}
	return nil
}
