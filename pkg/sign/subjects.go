package sign

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/pkg/registry"
)

// Subjects are the digests that a reference stands for: what it names, and if that is an index and all is set, the images in it. A tag is
// looked up once. The attestations in BuildKit's indexes are no images; the signature of the index is about them, too.
func Subjects(ctx context.Context, client *registry.Client, ref string, all bool) ([]name.Digest, error) {
	top, err := client.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	entries := []*registry.Stored{top}
	if all && top.Descriptor.MediaType.IsIndex() {
		images, err := top.Images(ctx)
		if err != nil {
			return nil, err
		}
		entries = append(entries, images...)
	}
	var subjects []name.Digest
	for _, e := range entries {
		if registry.IsAttestation(&e.Descriptor) {
			continue
		}
		// It will be written to, which may be allowed in other ways than reading.
		to, err := client.ParseDestination(e.String())
		if err != nil {
			return nil, err
		}
		digest, ok := to.(name.Digest)
		if !ok {
			return nil, fmt.Errorf("%s names no digest", to)
		}
		subjects = append(subjects, digest)
	}
	return subjects, nil
}
