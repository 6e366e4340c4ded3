package release

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/bundle"
)

// Annotations of a layer, by Tekton's bundle contract.
const (
	annotationName       = "dev.tekton.image.name"
	annotationKind       = "dev.tekton.image.kind"
	annotationAPIVersion = "dev.tekton.image.apiVersion"
)

// maxObjects is how many layers Tekton's resolver accepts in a bundle.
const maxObjects = 20

// Image makes a Tekton bundle: an OCI image with a layer for each definition, which is a tar with one
// file, and says in annotations what it holds.
func Image(definitions []*bundle.Definition) (v1.Image, error) {
	if len(definitions) == 0 || len(definitions) > maxObjects {
		return nil, fmt.Errorf("%d definitions do not fit into a Tekton bundle, which has 1 to %d", len(definitions), maxObjects)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, d := range definitions {
		layer, err := layerOf(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Path, err)
		}
		if img, err = mutate.Append(img, mutate.Addendum{
			Layer:     layer,
			MediaType: types.OCILayer,
			History:   v1.History{Created: v1.Time{Time: epoch()}, CreatedBy: "slipway bundle", Comment: d.Path},
			Annotations: map[string]string{
				annotationName: d.Name,
				annotationKind: d.Kind.Lower(),
				// Without the group, as Tekton's command line writes it.
				annotationAPIVersion: path.Base(d.APIVersion),
			},
		}); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Path, err)
		}
	}
	img, err := mutate.CreatedAt(img, v1.Time{Time: epoch()})
	if err != nil {
		return nil, err
	}
	annotated := mutate.Annotations(img, map[string]string{
		"org.opencontainers.image.title":   "Tekton bundle of slipway",
		"org.opencontainers.image.source":  bundle.RepositoryURL,
		"org.opencontainers.image.version": definitions[0].Version,
	})
	if img, ok := annotated.(v1.Image); ok {
		return img, nil
	}
	return nil, fmt.Errorf("with annotations the image is none, but a %T", annotated)
}

func layerOf(d *bundle.Definition) (v1.Layer, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	if err := writeFile(t, d.Name, d.Data); err != nil {
		return nil, err
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// WriteLayout writes an image as an OCI layout into a directory, whose content it replaces.
func WriteLayout(img v1.Image, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(img)
}

// Push pushes an image with the logins of Docker's configuration, and returns the reference by which it
// can be fetched unchangeably: repository:tag@digest.
func Push(ctx context.Context, img v1.Image, ref string) (string, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	if err := remote.Write(tag, img, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	return tag.Name() + "@" + digest.String(), nil
}
