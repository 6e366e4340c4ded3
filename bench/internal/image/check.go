package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// NewLayers gives the layers of an image that none of the bases has.
func NewLayers(ctx context.Context, reference, host string) ([]v1.Layer, error) {
	known := map[v1.Hash]bool{}
	for _, base := range []string{Debian, Go, Node} {
		layers, err := layersOf(ctx, host+"/"+base+":base")
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			id, err := l.DiffID()
			if err != nil {
				return nil, err
			}
			known[id] = true
		}
	}
	layers, err := layersOf(ctx, reference)
	if err != nil {
		return nil, err
	}
	var fresh []v1.Layer
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			return nil, err
		}
		if !known[id] {
			fresh = append(fresh, l)
		}
	}
	return fresh, nil
}

func layersOf(ctx context.Context, reference string) ([]v1.Layer, error) {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return nil, err
	}
	image, err := remote.Image(ref, remote.WithContext(ctx), ownConnections())
	if err != nil {
		return nil, err
	}
	return image.Layers()
}

// Size is that of layers as they are in the registry, in bytes.
func Size(layers []v1.Layer) (size int64, err error) {
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// Check reports which of the wanted paths the layers do not have.
func Check(layers []v1.Layer, want []string) error {
	missing := slices.Clone(want)
	for _, l := range layers {
		content, err := l.Uncompressed()
		if err != nil {
			return err
		}
		missing, err = without(missing, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the image lacks %s", strings.Join(missing, ", "))
	}
	return nil
}

// without takes from wanted paths those that a tar has, which it reads to its end.
func without(wanted []string, from io.Reader) ([]string, error) {
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, from)
			return wanted, err
		}
		if err != nil {
			return nil, err
		}
		path := strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")
		wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == path })
	}
}
