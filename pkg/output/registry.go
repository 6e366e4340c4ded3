package output

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Registry pushes an image. Prepare sends blobs and manifests, the topmost one under its digest, and
// has the registry confirm it; Commit writes the tags.
type Registry struct {
	client *registry.Client
	refs   []destination
	// byDigest leaves out the tags.
	byDigest bool
}

// destination is one reference that was asked for.
type destination struct {
	written string // as the user wrote it
	ref     name.Reference
}

// NewRegistry returns the output that pushes to refs, at least one. With byDigest the image gets no
// tag, and refs are names of repositories.
func NewRegistry(client *registry.Client, refs []string, byDigest bool) (*Registry, error) {
	if len(refs) == 0 {
		return nil, errors.New("pushing an image needs its name (--tag or name=)")
	}
	r := &Registry{client: client, byDigest: byDigest}
	for _, s := range refs {
		ref, err := client.ParseDestination(s)
		if err != nil {
			return nil, err
		}
		if _, digest := ref.(name.Digest); digest {
			return nil, fmt.Errorf("%s: an image cannot be pushed to a digest that was chosen beforehand: give a tag", s)
		}
		r.refs = append(r.refs, destination{s, ref})
	}
	return r, nil
}

// String implements Output.
func (r *Registry) String() string {
	names := make([]string, len(r.refs))
	for i, d := range r.refs {
		names[i] = d.written
	}
	return "pushing to " + strings.Join(names, ", ")
}

// Prepare implements Output. Registries are served in parallel; the repositories of one registry
// one after the other, so that the later ones mount what the first one got.
func (r *Registry) Prepare(ctx context.Context, b *image.Built) (Pending, error) {
	byHost := map[string][]name.Repository{}
	for _, d := range r.refs {
		repo := d.ref.Context()
		host := repo.RegistryStr()
		if !contains(byHost[host], repo) {
			byHost[host] = append(byHost[host], repo)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, repos := range byHost {
		g.Go(func() error { return r.pushTo(gctx, repos, b) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return &pendingTags{r, b}, nil
}

func contains(repos []name.Repository, repo name.Repository) bool {
	for _, r := range repos {
		if r.String() == repo.String() {
			return true
		}
	}
	return false
}

func (r *Registry) pushTo(ctx context.Context, repos []name.Repository, b *image.Built) error {
	for i, repo := range repos {
		var from *name.Repository
		if i > 0 {
			from = &repos[0]
		}
		if err := r.push(ctx, repo, from, b); err != nil {
			return err
		}
	}
	return nil
}

// push sends the image to a repository under its digest. Blobs are mounted from the repository
// from if it is given, else from where the base image lies.
func (r *Registry) push(ctx context.Context, repo name.Repository, from *name.Repository, b *image.Built) error {
	ref := repo.Digest(b.Digest().String())
	m := pushable(b, func(l v1.Layer) v1.Layer { return mountFrom(l, from) })
	err := r.client.Push(ctx, ref, m)
	var failed *registry.Error
	if errors.As(err, &failed) && failed.Kind == registry.Unauthorized {
		// The mount needs to read another repository. An account that may not
		// can still send the blobs itself.
		m = pushable(b, unmountable)
		if plain := r.client.Push(ctx, ref, m); plain == nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return r.client.Verify(ctx, repo, m)
}

func mountFrom(l v1.Layer, from *name.Repository) v1.Layer {
	if from == nil {
		return l
	}
	return &remote.MountableLayer{Layer: unmountable(l), Reference: from.Tag("latest")} // only the repository matters
}

func unmountable(l v1.Layer) v1.Layer {
	if m, ok := l.(*remote.MountableLayer); ok {
		return m.Layer
	}
	return l
}

// pendingTags is a pushed image that has no tags yet.
type pendingTags struct {
	*Registry
	built *image.Built
}

// Commit implements Pending.
func (p *pendingTags) Commit(ctx context.Context) (*Result, error) {
	res := &Result{}
	for _, d := range p.refs {
		if tag, ok := d.ref.(name.Tag); ok && !p.byDigest {
			if err := p.client.Tag(ctx, tag, pushable(p.built, unmountable)); err != nil {
				return nil, err
			}
		}
		res.Pushed = append(res.Pushed, Pushed{Ref: d.written, Digest: p.built.Digest()})
	}
	return res, nil
}

// Abort implements Pending. What lies in the registry without a tag is the registry's to collect.
func (p *pendingTags) Abort() error { return nil }

// pushable is the image or index with layers as edit makes them.
func pushable(b *image.Built, edit func(v1.Layer) v1.Layer) registry.Manifest {
	if x := b.Index(); x != nil {
		return &editedIndex{x, edit}
	}
	return &editedImage{b.Images()[0], edit}
}

type editedImage struct {
	*image.Image
	edit func(v1.Layer) v1.Layer
}

// Layers implements v1.Image.
func (i *editedImage) Layers() ([]v1.Layer, error) {
	layers, err := i.Image.Layers()
	for n := range layers {
		layers[n] = i.edit(layers[n])
	}
	return layers, err
}

type editedIndex struct {
	*image.Index
	edit func(v1.Layer) v1.Layer
}

// Image implements v1.ImageIndex.
func (x *editedIndex) Image(h v1.Hash) (v1.Image, error) {
	img, err := x.Index.Image(h)
	if err != nil {
		return nil, err
	}
	own, ok := img.(*image.Image)
	if !ok {
		return nil, fmt.Errorf("index has a foreign image %s", h)
	}
	return &editedImage{own, x.edit}, nil
}

var (
	_ partial.Describable = (*editedImage)(nil)
	_ v1.ImageIndex       = (*editedIndex)(nil)
)
