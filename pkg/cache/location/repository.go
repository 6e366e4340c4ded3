package location

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/registry"
)

// openRepository opens a registry's repository. A tag is where BuildKit keeps its cache or, inline, an image
// with one; Slipway's records have tags of their own.
func openRepository(ctx context.Context, ref string, o Options) (cache.Store, error) {
	if o.Registry == nil {
		return nil, errors.New("there is no access to registries")
	}
	r, err := o.Registry.Repository(ref)
	if err != nil {
		return nil, err
	}
	if tag, err := name.NewTag(ref, name.WithDefaultTag("")); err == nil && tag.TagStr() != "" {
		if err := refuseBuildKit(ctx, r, tag.TagStr()); err != nil {
			return nil, err
		}
	}
	return &repository{r}, nil
}

// lookupTimeout bounds the question of what a tag stands for.
const lookupTimeout = 20 * time.Second

// refuseBuildKit looks at what has the tag. What cannot be read is no reason to refuse it: it will be seen when
// the cache is used.
func refuseBuildKit(ctx context.Context, r *registry.Repository, tag string) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	raw, err := r.Manifest(ctx, tag)
	if err != nil {
		return nil
	}
	type descriptor struct {
		MediaType types.MediaType `json:"mediaType"`
	}
	var m struct {
		Config    v1.Descriptor `json:"config"`
		Manifests []descriptor  `json:"manifests"` // older versions keep the cache in an index
	}
	switch {
	case json.Unmarshal(raw, &m) != nil:
		return nil
	case slices.Contains(append(m.Manifests, descriptor{m.Config.MediaType}), descriptor{cache.BuildKitType}):
		return &ForeignError{r.String() + ":" + tag, "BuildKit's cache"}
	case m.Config.MediaType.IsConfig() && hasInlineCache(ctx, r, m.Config):
		return &ForeignError{r.String() + ":" + tag, "an image with BuildKit's inline cache"}
	}
	return nil
}

// configLimit bounds what is read of an image's config, in bytes.
const configLimit = 4 << 20

// hasInlineCache reports whether an image's config has a cache in it (BuildKit, cache/remotecache/import.go:
// its key "moby.buildkit.cache.v0").
func hasInlineCache(ctx context.Context, r *registry.Repository, config v1.Descriptor) bool {
	blob, err := r.Open(ctx, config)
	if err != nil {
		return false
	}
	defer blob.Close()
	var c struct {
		Cache json.RawMessage `json:"moby.buildkit.cache.v0"`
	}
	return json.NewDecoder(io.LimitReader(blob, configLimit)).Decode(&c) == nil && len(c.Cache) > 0
}

// repository is a registry's repository as a store that can be pruned.
type repository struct{ *registry.Repository }

var _ cache.Prunable = (*repository)(nil)

// List yields the tags. Registries do not say when they were made.
func (r *repository) List(ctx context.Context) ([]cache.Listed, error) {
	tags, err := r.Tags(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]cache.Listed, len(tags))
	for i, tag := range tags {
		all[i].Name = tag
	}
	return all, nil
}

// Remove deletes manifests. Blobs are left to the registry, which spares those that are young.
func (r *repository) Remove(ctx context.Context, names []string, _ time.Duration) (int64, error) {
	return 0, r.Delete(ctx, names)
}
