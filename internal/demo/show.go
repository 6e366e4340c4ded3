package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// showImage reads the image back from the registry, checks it against the results and the OCI
// layout, and prints its layers, each verified.
func (d *demo) showImage(ctx context.Context, tags []string) (v1.Image, error) {
	d.heading("What the registry has")
	digest, err := d.result("IMAGE_DIGEST")
	if err != nil {
		return nil, err
	}
	var image v1.Image
	for _, tag := range tags {
		ref, err := name.ParseReference(tag, name.Insecure)
		if err != nil {
			return nil, err
		}
		if image, err = remote.Image(ref, remote.WithContext(ctx)); err != nil {
			return nil, err
		}
		got, err := image.Digest()
		if err != nil {
			return nil, err
		}
		if got.String() != digest {
			return nil, fmt.Errorf("%s is %s, but IMAGE_DIGEST says %s", tag, got, digest)
		}
		d.printf("%s is %s\n", tag, got)
	}
	if err := d.checkLayout(digest); err != nil {
		return nil, err
	}
	return image, d.showLayers(image)
}

// checkLayout makes sure that the OCI layout holds the same image.
func (d *demo) checkLayout(digest string) error {
	index, err := layout.ImageIndexFromPath(d.paths().layout)
	if err != nil {
		return fmt.Errorf("reading the OCI layout: %w", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("reading the OCI layout: %w", err)
	}
	for _, m := range manifest.Manifests {
		if m.Digest.String() == digest {
			d.printf("%s has it too\n", d.paths().layout)
			return nil
		}
	}
	return fmt.Errorf("the OCI layout %s does not hold %s", d.paths().layout, digest)
}

// showLayers prints the layers after reading every byte of them.
func (d *demo) showLayers(image v1.Image) error {
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	var steps []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			steps = append(steps, h.CreatedBy)
		}
	}
	if len(layers) != len(config.RootFS.DiffIDs) || len(layers) != len(steps) {
		return fmt.Errorf("%d layers, %d diffIDs, %d entries of history", len(layers), len(config.RootFS.DiffIDs), len(steps))
	}
	d.printf("entrypoint %q, user %q, labels %q\n\n", config.Config.Entrypoint, config.Config.User, config.Config.Labels)
	w := tabwriter.NewWriter(d.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "layer\tbytes\tdigest\tdiffID\tmade by")
	for n, layer := range layers {
		size, err := verify(layer, config.RootFS.DiffIDs[n])
		if err != nil {
			return fmt.Errorf("layer %d: %w", n+1, err)
		}
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\n", n+1, size, short(digest), short(config.RootFS.DiffIDs[n]), firstWords(steps[n]))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	d.printf("\nEvery layer was read back: its digest, size and diffID are right.\n")
	return nil
}

// verify reads a layer and compares it with what the manifest and the config say of it; it
// gives the size of the blob.
func verify(layer v1.Layer, diffID v1.Hash) (int64, error) {
	digest, err := layer.Digest()
	if err != nil {
		return 0, err
	}
	size, err := layer.Size()
	if err != nil {
		return 0, err
	}
	blob, err := layer.Compressed()
	if err != nil {
		return 0, err
	}
	got, n, err := sum(blob)
	if err != nil {
		return 0, err
	}
	if got != digest.Hex || n != size {
		return 0, fmt.Errorf("the blob has %d bytes of digest %s, the manifest says %d of %s", n, got, size, digest)
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return 0, err
	}
	if got, _, err = sum(content); err != nil {
		return 0, err
	}
	if got != diffID.Hex {
		return 0, fmt.Errorf("the content has the digest %s, the config says %s", got, diffID)
	}
	return size, nil
}

func sum(r io.ReadCloser) (digest string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	if closed := r.Close(); err == nil {
		err = closed
	}
	return hex.EncodeToString(h.Sum(nil)), size, err
}

func short(h v1.Hash) string { return h.Algorithm + ":" + h.Hex[:12] }

// firstWords shortens a step to what fits in a line.
func firstWords(s string) string {
	const width = 48
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return s
}
