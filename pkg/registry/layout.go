package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layoutSource reads an OCI layout (OCI image spec, image-layout.md), wherever its files lie.
type layoutSource struct {
	files fileSource
	scope string
}

// fileSource is where the files of a layout lie.
type fileSource interface {
	// openFile opens the file of that slash-separated path; the error matches
	// fs.ErrNotExist if there is none.
	openFile(p string) (io.ReadCloser, error)
}

// dirFiles is a directory that symbolic links do not lead out of.
type dirFiles string

func (d dirFiles) openFile(p string) (io.ReadCloser, error) { return os.OpenInRoot(string(d), p) }

func openLayout(dir string) (source, error) {
	return newLayoutSource(dirFiles(dir), dir)
}

func newLayoutSource(files fileSource, scope string) (source, error) {
	raw, err := readFile(files, "oci-layout", manifestLimit)
	if err != nil {
		return nil, failure(Unsupported, "it is not an OCI layout: %w", err)
	}
	var head struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &head); err != nil || head.Version != "1.0.0" {
		return nil, failure(Unsupported, "its oci-layout file does not name version 1.0.0")
	}
	return &layoutSource{files: files, scope: scope}, nil
}

func (l *layoutSource) origin() name.Reference { return nil }

func (l *layoutSource) layerScope() string { return l.scope }

// manifest implements source.
func (l *layoutSource) manifest(_ context.Context, id string) (v1.Descriptor, []byte, error) {
	digest, err := v1.NewHash(id)
	if err != nil {
		if digest, err = l.lookup(id); err != nil {
			return v1.Descriptor{}, nil, err
		}
	}
	raw, err := readFile(l.files, blobPath(digest), manifestLimit)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	desc, err := checkManifest(digest.String(), "", raw)
	return desc, raw, err
}

// lookup finds the digest that index.json knows by a name.
func (l *layoutSource) lookup(id string) (v1.Hash, error) {
	raw, err := readFile(l.files, "index.json", manifestLimit)
	if err != nil {
		return v1.Hash{}, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return v1.Hash{}, failure(Invalid, "index.json is damaged: %w", err)
	}
	if id == "" {
		if len(index.Manifests) != 1 {
			return v1.Hash{}, failure(NotFound, "the layout holds %d images: say which by tag or digest", len(index.Manifests))
		}
		return index.Manifests[0].Digest, nil
	}
	for _, d := range index.Manifests {
		// The second is what containerd and BuildKit write.
		if d.Annotations["org.opencontainers.image.ref.name"] == id || d.Annotations["io.containerd.image.name"] == id {
			return d.Digest, nil
		}
	}
	return v1.Hash{}, failure(NotFound, "the layout holds no image %q", id)
}

// open implements source.
func (l *layoutSource) open(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return openFile(l.files, blobPath(desc.Digest))
}

func blobPath(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

func openFile(files fileSource, p string) (io.ReadCloser, error) {
	f, err := files.openFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure(NotFound, "%s is missing: %w", p, err)
	}
	return f, err
}

func readFile(files fileSource, p string, limit int64) ([]byte, error) {
	f, err := openFile(files, p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p, err)
	}
	if int64(len(raw)) > limit {
		return nil, failure(Invalid, "%s has more than %d bytes", p, limit)
	}
	return raw, nil
}
