// Package provenance says how an image came about, as SLSA provenance in the form that BuildKit gives it: what was asked for, everything
// that was brought in, each with its digest, and what the build was made of.
//
// https://slsa.dev/spec/v1.0/provenance,
// https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md
package provenance

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	imageref "github.com/distribution/reference"
	bkprovenance "github.com/moby/buildkit/solver/llbsolver/provenance"
	bktypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// Sources tell what remote sources turned out to be. They are asked only about what the build has asked for itself.
type Sources interface {
	op.Downloads
	Commit(ctx context.Context, g *op.Git) (*op.Commit, error)
}

// Image is an image that was looked up.
type Image struct {
	// Ref is what it was asked for by, "docker.io/library/alpine:3.20" or with a digest.
	Ref      string
	Digest   digest.Digest // of the manifest, or of the index that it was chosen from
	Platform op.Platform
	// Local says that it is from an OCI layout and not from a registry.
	Local bool
}

// File is something that was read from elsewhere and is no vertex of the graph, such as a build context that is an archive.
type File struct {
	URL string
	Sum layer.Sum
	// Locals are the local sources that it is read as.
	Locals []string
}

// capture collects what a build has used.
type capture struct {
	sources Sources
	// elsewhere are local sources that are among Facts.Files.
	elsewhere []string
	into      *bkprovenance.Capture
}

// collect is everything that the roots are made of, and what was looked at besides.
func collect(ctx context.Context, f *Facts, s Sources) (*bkprovenance.Capture, error) {
	c := &capture{sources: s, into: &bkprovenance.Capture{}}
	for _, file := range f.Files {
		c.elsewhere = append(c.elsewhere, file.Locals...)
	}
	for _, v := range op.Vertices(f.Roots...) {
		if err := c.op(ctx, v.Op); err != nil {
			return nil, op.Locate(err, v.Locations)
		}
	}
	for _, i := range f.Images {
		if err := c.image(i); err != nil {
			return nil, err
		}
	}
	for _, file := range f.Files {
		c.into.AddHTTP(bktypes.HTTPSource{URL: redact(file.URL), Digest: sha256(file.Sum)})
	}
	if err := c.into.OptimizeImageSources(); err != nil {
		return nil, err
	}
	c.into.Sort()
	return c.into, nil
}

func sha256(sum layer.Sum) digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum[:]))
}

func (c *capture) op(ctx context.Context, o op.Op) error {
	switch o := o.(type) {
	case *op.Image:
		_, dgst, _ := cutDigest(o.Ref)
		return c.image(Image{Ref: o.Ref, Digest: dgst, Platform: o.Platform, Local: o.Layout != ""})
	case *op.Local:
		if !slices.Contains(c.elsewhere, o.Name) {
			c.into.AddLocal(bktypes.LocalSource{Name: o.Name})
		}
	case *op.HTTP:
		d, err := c.sources.Download(ctx, o)
		if err != nil {
			return err
		}
		c.into.AddHTTP(bktypes.HTTPSource{URL: redact(o.URL), Digest: sha256(d.Sum)})
		c.secrets(o.AuthHeaderSecret)
	case *op.Git:
		return c.git(ctx, o)
	case *op.GitObjects:
		return c.git(ctx, o.Git)
	case *op.Exec:
		c.exec(o)
	}
	return nil
}

// image adds an image. By a tag it is listed by that, with the digest beside it; where only a digest was given, that is its name.
func (c *capture) image(i Image) error {
	ref, dgst, err := cutDigest(i.Ref)
	if err != nil {
		return err
	}
	if i.Digest == "" {
		i.Digest = dgst
	}
	platform := i.Platform.OCI()
	c.into.AddImage(bktypes.ImageSource{Ref: ref, Digest: i.Digest, Local: i.Local, Platform: &platform})
	return nil
}

// cutDigest takes a reference apart. What has no tag keeps its digest.
func cutDigest(ref string) (name string, dgst digest.Digest, err error) {
	named, err := imageref.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", fmt.Errorf("provenance: image %q: %w", ref, err)
	}
	if d, ok := named.(imageref.Digested); ok {
		dgst = d.Digest()
	}
	if tagged, ok := named.(imageref.Tagged); ok {
		tag, err := imageref.WithTag(imageref.TrimNamed(named), tagged.Tag())
		return tag.String(), dgst, err
	}
	return named.String(), dgst, nil
}

func (c *capture) git(ctx context.Context, g *op.Git) error {
	commit, err := c.sources.Commit(ctx, g)
	if err != nil {
		return err
	}
	hash := commit.Peeled
	if hash == "" {
		hash = commit.Hash
	}
	url := redact(g.URL)
	if g.Ref != "" {
		url += "#" + g.Ref
	}
	c.into.AddGit(bktypes.GitSource{URL: url, Commit: hash})
	c.secrets(g.AuthTokenSecret, g.AuthHeaderSecret)
	if g.Agent != "" {
		c.into.AddSSH(bktypes.SSH{ID: g.Agent, Optional: true})
	}
	return nil
}

// secrets adds ids of secrets that are used if they are there.
func (c *capture) secrets(ids ...string) {
	for _, id := range ids {
		if id != "" {
			c.into.AddSecret(bktypes.Secret{ID: id, Optional: true})
		}
	}
}

func (c *capture) exec(e *op.Exec) {
	if e.Network != isolation.NetworkNone {
		c.into.NetworkAccess = true
	}
	for _, s := range e.SecretEnv {
		c.into.AddSecret(bktypes.Secret{ID: s.ID, Optional: s.Optional})
	}
	for _, m := range e.Mounts {
		switch m.Type {
		case isolation.MountSecret:
			c.into.AddSecret(bktypes.Secret{ID: m.SecretID, Optional: m.Optional})
		case isolation.MountSSH:
			c.into.AddSSH(bktypes.SSH{ID: m.SecretID, Optional: m.Optional})
		}
	}
}
