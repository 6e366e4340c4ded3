package registry

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Stored is a manifest that a registry has. What it refers to is fetched when somebody reads it, and
// manifests once. It is safe for concurrent use.
type Stored struct {
	// Descriptor describes the manifest. For an entry of an index, platform and annotations are
	// those that the index states.
	Descriptor v1.Descriptor

	client *Client
	src    *session
}

type manifestKey struct {
	repo name.Repository
	id   string
}

// storedManifest is a manifest as a registry gave it, verified.
type storedManifest struct {
	desc v1.Descriptor
	raw  []byte
}

// Open finds what a reference names, whatever its platform is. A tag is looked up once in the
// client's life.
func (c *Client) Open(ctx context.Context, ref string) (*Stored, error) {
	r, err := c.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, r)
	return s, wrap("opening image", ref, err)
}

func (c *Client) open(ctx context.Context, r name.Reference) (*Stored, error) {
	src, err := c.session(ctx, r.Context(), c.opts.Pull)
	if err != nil {
		return nil, err
	}
	m, err := c.manifest(ctx, src, r.Identifier())
	if err != nil {
		return nil, err
	}
	return &Stored{Descriptor: m.desc, client: c, src: src}, nil
}

// manifest reads a manifest of a repository, once.
func (c *Client) manifest(ctx context.Context, src *session, id string) (storedManifest, error) {
	return c.manifests.Do(ctx, c.ctx, manifestKey{src.repo, id}, func(ctx context.Context) (storedManifest, error) {
		desc, raw, err := src.manifest(ctx, id)
		if err != nil {
			return storedManifest{}, err
		}
		m := storedManifest{desc, raw}
		// Who resolved a tag asks by digest next.
		c.manifests.Keep(manifestKey{src.repo, desc.Digest.String()}, m)
		return m, nil
	})
}

// String is the reference that names the manifest by its digest.
func (s *Stored) String() string {
	return s.src.repo.Digest(s.Descriptor.Digest.String()).String()
}

// Repository is where the manifest lies.
func (s *Stored) Repository() name.Repository { return s.src.repo }

// raw is the manifest's content, which has the digest and the size of the descriptor.
func (s *Stored) raw(ctx context.Context) ([]byte, error) {
	m, err := s.client.manifest(ctx, s.src, s.Descriptor.Digest.String())
	if err != nil {
		return nil, err
	}
	if m.desc.Size != s.Descriptor.Size {
		return nil, failure(Invalid, "the manifest has %d bytes, and its index says %d", m.desc.Size, s.Descriptor.Size)
	}
	return m.raw, nil
}

// Images lists the manifests of images that s stands for, in their order: itself, or if it is an index,
// its entries, with those of indexes in it in their places.
func (s *Stored) Images(ctx context.Context) ([]*Stored, error) {
	images, err := s.images(ctx, 0)
	return images, wrap("reading index", s.String(), err)
}

func (s *Stored) images(ctx context.Context, depth int) ([]*Stored, error) {
	mt := s.Descriptor.MediaType
	switch {
	case mt.IsImage():
		return []*Stored{s}, nil
	case !mt.IsIndex():
		return nil, unsupportedType(mt)
	case depth >= maxNesting:
		return nil, tooDeep()
	}
	raw, err := s.raw(ctx)
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, failure(Invalid, "the index is damaged: %w", err)
	}
	var all []*Stored
	for _, d := range index.Manifests {
		entry, err := s.entry(ctx, d)
		if err != nil {
			return nil, err
		}
		images, err := entry.images(ctx, depth+1)
		if err != nil {
			return nil, fmt.Errorf("entry %s: %w", d.Digest, err)
		}
		all = append(all, images...)
	}
	return all, nil
}

// entry is what an index's descriptor d describes.
func (s *Stored) entry(ctx context.Context, d v1.Descriptor) (*Stored, error) {
	if err := validDescriptor(d); err != nil {
		return nil, err
	}
	if d.MediaType == "" {
		m, err := s.client.manifest(ctx, s.src, d.Digest.String())
		if err != nil {
			return nil, err
		}
		d.MediaType = m.desc.MediaType
	}
	return &Stored{Descriptor: d, client: s.client, src: s.src}, nil
}

// Platform is what an image is for: what its index states, else what its config says. It is an
// error if neither says it.
func (s *Stored) Platform(ctx context.Context) (v1.Platform, error) {
	if p := s.Descriptor.Platform; p != nil && p.OS != "" && p.Architecture != "" {
		return *p, nil
	}
	p, err := s.configPlatform(ctx)
	return p, wrap("reading image", s.String(), err)
}

func (s *Stored) configPlatform(ctx context.Context) (v1.Platform, error) {
	m, err := s.manifest(ctx)
	if err != nil {
		return v1.Platform{}, err
	}
	raw, err := readBlob(ctx, s.src, m.Config, configLimit)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("reading the image's config: %w", err)
	}
	var p v1.Platform
	if err := json.Unmarshal(raw, &p); err != nil {
		return v1.Platform{}, failure(Invalid, "its config is not that of a container image: %w", err)
	}
	if p.OS == "" || p.Architecture == "" {
		return v1.Platform{}, failure(NoPlatform, "its config names no platform: os is %q and architecture %q", p.OS, p.Architecture)
	}
	p.Features = nil // a word of Docker's indexes, not of configs
	return p, nil
}

// manifest is the manifest of an image.
func (s *Stored) manifest(ctx context.Context) (*v1.Manifest, error) {
	raw, err := s.raw(ctx)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, failure(Invalid, "the manifest is damaged: %w", err)
	}
	return &m, nil
}
