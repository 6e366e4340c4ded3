// Package containerd stands in for containerd's client, by which BuildKit's tests look at the images that a
// daemon stored. Slipway stores none; the shim's client lets it push them to package mirror, and here they are
// read from there.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/test/conformance/shim/hub"
)

// Opt is an option of New.
type Opt struct{}

// WithTimeout changes nothing: there is nobody to wait for.
func WithTimeout(time.Duration) Opt { return Opt{} }

// Client gives the images of package mirror.
type Client struct {
	dir       string
	store     content.Store
	transport *http.Transport
}

// New gives a client; whose daemon it would be, the address says, does not matter.
func New(_ string, _ ...Opt) (*Client, error) {
	transport, err := hub.Transport()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "conformance-content-")
	if err != nil {
		return nil, err
	}
	store, err := local.NewStore(dir)
	// Without it, the store cannot list that it has nothing.
	if err = errors.Join(err, os.Mkdir(filepath.Join(dir, "blobs"), 0o755)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Client{dir: dir, store: store, transport: transport}, nil
}

// Close removes what was read.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return os.RemoveAll(c.dir)
}

// ContentStore has the content of images that ImageService gave.
func (c *Client) ContentStore() content.Store { return c.store }

// ImageService gives images by their names.
func (c *Client) ImageService() Images { return Images{c} }

// SnapshotService has nothing.
func (c *Client) SnapshotService(string) Snapshots { return Snapshots{} }

// Snapshots are those of no daemon.
type Snapshots struct{}

// Walk calls nobody.
func (Snapshots) Walk(context.Context, snapshots.WalkFunc, ...string) error { return nil }

// Images are those of package mirror.
type Images struct{ client *Client }

// Get gives an image, and fetches its manifest and config into the content store.
func (i Images) Get(ctx context.Context, image string) (images.Image, error) {
	fail := func(err error) (images.Image, error) {
		return images.Image{}, fmt.Errorf("reading the image %s: %w", image, err)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		return fail(err)
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithTransport(i.client.transport))
	if err != nil {
		return fail(err)
	}
	target := descriptor(found.Descriptor)
	if err := i.client.put(ctx, target, found.Manifest); err != nil {
		return fail(err)
	}
	pulled, err := found.Image()
	if err != nil {
		return fail(err)
	}
	manifest, err := pulled.Manifest()
	if err != nil {
		return fail(err)
	}
	config, err := pulled.RawConfigFile()
	if err != nil {
		return fail(err)
	}
	if err := i.client.put(ctx, descriptor(manifest.Config), config); err != nil {
		return fail(err)
	}
	return images.Image{Name: image, Target: target}, nil
}

// Delete removes an image from the mirror, but none of the base images, which other tests use.
func (i Images) Delete(ctx context.Context, image string, _ ...images.DeleteOpt) error {
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	if strings.HasPrefix(ref.Context().RepositoryStr(), "library/") {
		return fmt.Errorf("the mirror keeps its base image %s", image)
	}
	return remote.Delete(ref, remote.WithContext(ctx), remote.WithTransport(i.client.transport))
}

func descriptor(d v1.Descriptor) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}

// put keeps content, which another image may have, too.
func (c *Client) put(ctx context.Context, d ocispecs.Descriptor, data []byte) error {
	w, err := content.OpenWriter(ctx, c.store, content.WithRef(d.Digest.String()), content.WithDescriptor(d))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Close())
	}
	return errors.Join(w.Commit(ctx, d.Size, d.Digest), w.Close())
}

// List gives none: images belong to the mirror.
func (Images) List(context.Context, ...string) ([]images.Image, error) { return nil, nil }

// LeasesService has nothing either.
func (c *Client) LeasesService() Leases { return Leases{} }

// Leases are those of no daemon.
type Leases struct{}

// List gives none.
func (Leases) List(context.Context, ...string) ([]leases.Lease, error) { return nil, nil }

// ListResources gives none.
func (Leases) ListResources(context.Context, leases.Lease) ([]leases.Resource, error) {
	return nil, nil
}
