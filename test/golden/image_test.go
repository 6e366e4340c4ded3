package golden

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// This reader shares no code with the packages that it checks: it reads the files of an OCI
// layout (image-spec, image-layout.md) and verifies every digest and size on the way.

// descriptor is what the OCI image spec calls so; fields that no case needs are left out.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *platform `json:"platform"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

func (p *platform) String() string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// manifest is an image manifest or, with Manifests, an index.
type manifest struct {
	MediaType string       `json:"mediaType"`
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
	raw       []byte
}

// builtImage is one image of a layout, read completely.
type builtImage struct {
	platform string // "" for the only one
	manifest *manifest
	config   []byte
	diffIDs  []string
	layers   [][]byte // uncompressed tars
}

// ociLayout is a directory in the form of the OCI image layout.
type ociLayout struct{ dir string }

// read returns the digest of the one thing in the layout, the index if there is one, and its
// images.
func (l ociLayout) read() (digest string, index *manifest, images []*builtImage, err error) {
	raw, err := os.ReadFile(filepath.Join(l.dir, "index.json"))
	if err != nil {
		return "", nil, nil, err
	}
	var top manifest
	if err := json.Unmarshal(raw, &top); err != nil {
		return "", nil, nil, fmt.Errorf("index.json: %w", err)
	}
	if len(top.Manifests) != 1 {
		return "", nil, nil, fmt.Errorf("index.json lists %d manifests, want 1", len(top.Manifests))
	}
	d := top.Manifests[0]
	m, err := l.manifest(d)
	if err != nil {
		return "", nil, nil, err
	}
	if !strings.Contains(d.MediaType, "index") && !strings.Contains(d.MediaType, "manifest.list") {
		image, err := l.image(m)
		return d.Digest, nil, []*builtImage{image}, err
	}
	for _, d := range m.Manifests {
		child, err := l.manifest(d)
		if err != nil {
			return "", nil, nil, err
		}
		image, err := l.image(child)
		if err != nil {
			return "", nil, nil, err
		}
		if d.Platform == nil {
			return "", nil, nil, fmt.Errorf("%s has no platform in the index", d.Digest)
		}
		image.platform = d.Platform.String()
		images = append(images, image)
	}
	return d.Digest, m, images, nil
}

func (l ociLayout) manifest(d descriptor) (*manifest, error) {
	raw, err := l.blob(d)
	if err != nil {
		return nil, err
	}
	m := &manifest{raw: raw}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	if m.MediaType != d.MediaType {
		return nil, fmt.Errorf("manifest %s is of type %q, its descriptor says %q", d.Digest, m.MediaType, d.MediaType)
	}
	return m, nil
}

func (l ociLayout) image(m *manifest) (*builtImage, error) {
	if m.Config == nil {
		return nil, fmt.Errorf("a manifest has no config")
	}
	config, err := l.blob(*m.Config)
	if err != nil {
		return nil, err
	}
	var head struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &head); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	image := &builtImage{manifest: m, config: config, diffIDs: head.RootFS.DiffIDs}
	if len(image.diffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%d diff IDs for %d layers", len(image.diffIDs), len(m.Layers))
	}
	for i, d := range m.Layers {
		raw, err := l.blob(d)
		if err != nil {
			return nil, err
		}
		layer, err := uncompress(d.MediaType, raw)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		if sum := sha256Of(layer); sum != image.diffIDs[i] {
			return nil, fmt.Errorf("layer %s has diff ID %s, the config says %s", d.Digest, sum, image.diffIDs[i])
		}
		image.layers = append(image.layers, layer)
	}
	return image, nil
}

// blob reads one blob and verifies it.
func (l ociLayout) blob(d descriptor) ([]byte, error) {
	encoded, ok := strings.CutPrefix(d.Digest, "sha256:")
	if !ok {
		return nil, fmt.Errorf("digest %q is not of the kind sha256", d.Digest)
	}
	raw, err := os.ReadFile(filepath.Join(l.dir, "blobs", "sha256", encoded))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != d.Size || sha256Of(raw) != d.Digest {
		return nil, fmt.Errorf("blob %s (%d bytes) has digest %s and %d bytes", d.Digest, d.Size, sha256Of(raw), len(raw))
	}
	return raw, nil
}

func uncompress(mediaType string, raw []byte) ([]byte, error) {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		r, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case strings.HasSuffix(mediaType, "zstd"):
		r, err := zstd.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return raw, nil
}

func sha256Of(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
