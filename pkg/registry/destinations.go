package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// Destinations are the references that one image or index shall be known by.
type Destinations struct {
	client *Client
	list   []destination
}

// destination is one reference.
type destination struct {
	written string // as the user wrote it
	ref     name.Reference
}

// Destinations reads references to push to. A digest cannot be one.
func (c *Client) Destinations(refs []string) (*Destinations, error) {
	d := &Destinations{client: c}
	for _, s := range refs {
		ref, err := c.ParseDestination(s)
		if err != nil {
			return nil, err
		}
		if _, digest := ref.(name.Digest); digest {
			return nil, fmt.Errorf("%s: an image cannot be pushed to a digest that was chosen beforehand: give a tag", s)
		}
		d.list = append(d.list, destination{s, ref})
	}
	return d, nil
}

// Written lists the references as the user wrote them.
func (d *Destinations) Written() []string {
	all := make([]string, len(d.list))
	for i, l := range d.list {
		all[i] = l.written
	}
	return all
}

// String lists the references for people to read.
func (d *Destinations) String() string { return strings.Join(d.Written(), ", ") }

// Repositories lists the repositories of the destinations, each once.
func (d *Destinations) Repositories() []name.Repository {
	var all []name.Repository
	for _, l := range d.list {
		if repo := l.ref.Context(); !slices.Contains(all, repo) {
			all = append(all, repo)
		}
	}
	return all
}

// Push sends m to every repository under its digest, after everything that m refers to, and has the
// registry confirm it. Registries are served in parallel; the repositories of one registry one
// after the other, so that the later ones mount what the first one got.
func (d *Destinations) Push(ctx context.Context, m Manifest) error {
	byHost := map[string][]name.Repository{}
	for _, repo := range d.Repositories() {
		byHost[repo.RegistryStr()] = append(byHost[repo.RegistryStr()], repo)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, repos := range byHost {
		g.Go(func() error { return d.client.pushTo(gctx, repos, m) })
	}
	return g.Wait()
}

// Tag puts m, which has been pushed, under the tags, in their order.
func (d *Destinations) Tag(ctx context.Context, m Manifest) error {
	for _, l := range d.list {
		if tag, ok := l.ref.(name.Tag); ok {
			if err := d.client.Tag(ctx, tag, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// pushTo sends m to the repositories of one registry.
func (c *Client) pushTo(ctx context.Context, repos []name.Repository, m Manifest) error {
	for i, repo := range repos {
		from := asIs
		if i > 0 {
			from = mountFrom(repos[0])
		}
		if err := c.pushByDigest(ctx, repo, m, from); err != nil {
			return err
		}
	}
	return nil
}

// pushByDigest sends m to a repository, with its blobs as edit makes them.
func (c *Client) pushByDigest(ctx context.Context, repo name.Repository, m Manifest, edit edit) error {
	digest, err := m.Digest()
	if err != nil {
		return err
	}
	ref := repo.Digest(digest.String())
	err = c.Push(ctx, ref, edited(m, edit))
	var failed *Error
	if errors.As(err, &failed) && failed.Kind == Unauthorized {
		// The mount needs to read another repository. An account that may not
		// can still send the blobs itself.
		if plain := c.Push(ctx, ref, edited(m, unmountable)); plain == nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return c.Verify(ctx, repo, m)
}

// edit changes how a blob is pushed.
type edit func(v1.Layer) v1.Layer

func asIs(l v1.Layer) v1.Layer { return l }

// mountFrom has blobs mounted from repo, wherever else they could be mounted from.
func mountFrom(repo name.Repository) edit {
	origin := repo.Tag("latest") // only the repository matters
	return func(l v1.Layer) v1.Layer {
		return &remote.MountableLayer{Layer: unmountable(l), Reference: origin}
	}
}

func unmountable(l v1.Layer) v1.Layer {
	if m, ok := l.(*remote.MountableLayer); ok {
		return m.Layer
	}
	return l
}

// edited is m with its blobs as edit makes them.
func edited(m Manifest, edit edit) Manifest {
	switch m := m.(type) {
	case v1.ImageIndex:
		return &editedIndex{m, edit}
	case v1.Image:
		return &editedImage{m, edit}
	}
	return m
}

type editedImage struct {
	v1.Image
	edit edit
}

// Layers implements v1.Image.
func (i *editedImage) Layers() ([]v1.Layer, error) {
	layers, err := i.Image.Layers()
	edited := make([]v1.Layer, len(layers))
	for n, l := range layers {
		edited[n] = i.edit(l)
	}
	return edited, err
}

// ConfigLayer is the config as a blob (see partial.ConfigLayer).
func (i *editedImage) ConfigLayer() (v1.Layer, error) {
	config, err := partial.ConfigLayer(i.Image)
	if err != nil {
		return nil, err
	}
	return i.edit(config), nil
}

// anyIndex is v1.ImageIndex under a name that is not that of one of its methods.
type anyIndex = v1.ImageIndex

type editedIndex struct {
	anyIndex
	edit edit
}

// Image implements v1.ImageIndex.
func (x *editedIndex) Image(h v1.Hash) (v1.Image, error) {
	img, err := x.anyIndex.Image(h)
	if err != nil {
		return nil, err
	}
	return &editedImage{img, x.edit}, nil
}

// ImageIndex implements v1.ImageIndex.
func (x *editedIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	inner, err := x.anyIndex.ImageIndex(h)
	if err != nil {
		return nil, err
	}
	return &editedIndex{inner, x.edit}, nil
}
