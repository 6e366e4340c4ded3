package output

import (
	"bytes"
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/stream"
)

// content is a blob of an image: a layer, config, manifest or index.
type content struct {
	desc v1.Descriptor
	open func() (io.ReadCloser, error)
}

// contents lists the blobs of b, each once, what refers to others after them.
func contents(b *image.Built) ([]content, error) {
	var list []content
	seen := map[v1.Hash]bool{}
	add := func(c content) {
		if !seen[c.desc.Digest] {
			seen[c.desc.Digest] = true
			list = append(list, c)
		}
	}
	for _, img := range b.Images() {
		if err := imageContents(img, add); err != nil {
			return nil, err
		}
	}
	for _, a := range b.Attestations() {
		if err := attestationContents(a, add); err != nil {
			return nil, err
		}
	}
	if x := b.Index(); x != nil {
		raw, err := x.RawManifest()
		if err != nil {
			return nil, err
		}
		add(inMemory(b.Descriptor(), raw))
	}
	return list, nil
}

func imageContents(img *image.Image, add func(content)) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for i, l := range img.List() {
		// Foreign layers are not for passing on, unless they became ordinary ones.
		if l.MediaType.IsDistributable() {
			add(content{l.Descriptor, layers[i].Compressed})
		}
	}
	return manifestContents(img, add)
}

func attestationContents(a *image.Attestation, add func(content)) error {
	layers, err := a.Layers()
	if err != nil {
		return err
	}
	for i, desc := range a.List() {
		add(content{desc, layers[i].Compressed})
	}
	return manifestContents(a, add)
}

// manifest is an image or what has the form of one.
type manifest interface {
	v1.Image
	Descriptor() (*v1.Descriptor, error)
}

// manifestContents are the config and the manifest.
func manifestContents(img manifest, add func(content)) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	add(inMemory(m.Config, config))
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	desc, err := img.Descriptor()
	if err != nil {
		return err
	}
	add(inMemory(*desc, raw))
	return nil
}

func inMemory(desc v1.Descriptor, b []byte) content {
	return content{desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// copyTo writes the blob to w and checks on the way that it is what its descriptor says.
func (c content) copyTo(ctx context.Context, w io.Writer) (err error) {
	r, err := c.open()
	if err != nil {
		return err
	}
	defer r.Close()
	h, err := v1.Hasher(c.desc.Digest.Algorithm)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.MultiWriter(w, h), stream.Reader(ctx, r))
	if err != nil {
		return fmt.Errorf("blob %s: %w", c.desc.Digest, err)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); n != c.desc.Size || got != c.desc.Digest.Hex {
		return fmt.Errorf("blob %s: read %d bytes with digest %s instead of %d", c.desc.Digest, n, got, c.desc.Size)
	}
	return nil
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
