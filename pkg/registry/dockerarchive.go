package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/compression"
)

// dockerArchive is what "docker save" wrote before it wrote OCI layouts: layers and configs, and
// manifest.json, which says what belongs together. Its images have no manifests, so we make
// some up: the same archive always gives the same ones.
type dockerArchive struct {
	files  *archive
	scope  string
	images []dockerImage
	blobs  map[v1.Hash]string // to the path in the archive
}

type dockerImage struct {
	tags     []string
	desc     v1.Descriptor
	manifest []byte
}

// dockerManifest is an element of manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func newDockerArchive(ctx context.Context, files *archive, scope string) (source, error) {
	raw, err := readFile(files, "manifest.json", manifestLimit)
	if err != nil {
		return nil, failure(Unsupported, "%s is neither a tar of an OCI layout nor one from docker save: %w", scope, err)
	}
	var list []dockerManifest
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, failure(Invalid, "manifest.json is damaged: %w", err)
	}
	d := &dockerArchive{files: files, scope: scope, blobs: map[v1.Hash]string{}}
	for _, m := range list {
		if err := d.add(ctx, m); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *dockerArchive) add(ctx context.Context, m dockerManifest) error {
	config, err := d.describe(ctx, m.Config)
	if err != nil {
		return err
	}
	config.MediaType = types.DockerConfigJSON
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2, Config: config, Layers: []v1.Descriptor{}}
	for _, p := range m.Layers {
		l, err := d.describe(ctx, p)
		if err != nil {
			return err
		}
		if l.MediaType, err = d.layerType(p); err != nil {
			return err
		}
		manifest.Layers = append(manifest.Layers, l)
	}
	img := dockerImage{tags: m.RepoTags}
	if img.manifest, err = json.Marshal(manifest); err != nil {
		return err
	}
	if img.desc, err = checkManifest("", "", img.manifest); err != nil {
		return err
	}
	d.images = append(d.images, img)
	return nil
}

// describe computes digest and size of a file of the archive.
func (d *dockerArchive) describe(ctx context.Context, p string) (v1.Descriptor, error) {
	if err := ctx.Err(); err != nil {
		return v1.Descriptor{}, context.Cause(ctx)
	}
	f, err := openFile(d.files, p)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	digest, size, err := v1.SHA256(f)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading %s: %w", p, err)
	}
	d.blobs[digest] = p
	return v1.Descriptor{Digest: digest, Size: size}, nil
}

func (d *dockerArchive) layerType(p string) (types.MediaType, error) {
	f, err := openFile(d.files, p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	switch a := compression.Detect(head[:n]); a {
	case compression.None:
		return types.DockerUncompressedLayer, nil
	case compression.Gzip:
		return types.DockerLayer, nil
	case compression.Zstd:
		return types.OCILayerZStd, nil
	default:
		return "", failure(Unsupported, "layer %s is compressed with %s", p, a)
	}
}

func (d *dockerArchive) origin() name.Reference { return nil }

func (d *dockerArchive) layerScope() string { return d.scope }

// manifest implements source.
func (d *dockerArchive) manifest(_ context.Context, id string) (v1.Descriptor, []byte, error) {
	if id == "" && len(d.images) == 1 {
		return d.images[0].desc, d.images[0].manifest, nil
	}
	for _, img := range d.images {
		if img.desc.Digest.String() == id || slices.Contains(img.tags, id) {
			return img.desc, bytes.Clone(img.manifest), nil
		}
	}
	if id == "" {
		return v1.Descriptor{}, nil, failure(NotFound, "the archive holds %d images: say which by tag", len(d.images))
	}
	return v1.Descriptor{}, nil, failure(NotFound, "the archive holds no image %q", id)
}

// open implements source.
func (d *dockerArchive) open(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	p, ok := d.blobs[desc.Digest]
	if !ok {
		return nil, failure(NotFound, "the archive has no blob %s: %w", desc.Digest, fs.ErrNotExist)
	}
	return d.files.openFile(p)
}
