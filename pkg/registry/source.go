package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// source is a place that images are read from: one repository of a registry, an OCI layout, or
// an archive. Sources are safe for concurrent use.
type source interface {
	// manifest returns the manifest or index of that name, which is a digest or a tag; ""
	// stands for the only image of a layout. Content asked for by digest has it.
	manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error)

	// open returns the bytes of a blob, unverified. ctx bounds the reading too.
	open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error)

	// origin is where a registry can mount blobs of this source from, nil if nowhere.
	origin() name.Reference

	// layerScope names what layers of equal digest are shared within.
	layerScope() string
}

// Limits on what is kept in memory. Both are far above what exists, and a registry that
// sends more makes the build fail, not the pod run out of memory.
const (
	manifestLimit = 8 << 20
	configLimit   = 16 << 20
)

// readBlob returns a small blob, verified.
func readBlob(ctx context.Context, src source, desc v1.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are accepted", desc.Digest, desc.Size, limit)
	}
	if err := validDescriptor(desc); err != nil {
		return nil, err
	}
	var content []byte
	err := fetchedAgain(func() (err error) {
		content, err = readVerified(ctx, src, desc)
		return err
	})
	return content, err
}

func readVerified(ctx context.Context, src source, desc v1.Descriptor) ([]byte, error) {
	r, err := src.open(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v, err := newVerifier(r, desc)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(v)
}

// fetches is how often content that arrives damaged is fetched.
const fetches = 3

// fetchedAgain repeats fetch while what it gets is not what its digest says, a few times: what is damaged on its way need
// not be so again.
func fetchedAgain(fetch func() error) error {
	for attempt := 1; ; attempt++ {
		err := fetch()
		var damaged *digestError
		if attempt >= fetches || !errors.As(err, &damaged) {
			return err
		}
	}
}

// checkManifest compares a manifest with the digest that it was asked for by, if it was one,
// and returns its descriptor.
func checkManifest(id, mediaType string, raw []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, err
	}
	if want, err := v1.NewHash(id); err == nil {
		got, err := hashLike(want, raw)
		if err != nil {
			return v1.Descriptor{}, err
		}
		if got != want {
			return v1.Descriptor{}, &digestError{what: "manifest", want: want.String(), got: got.String()}
		}
		digest = want
	}
	var stated struct {
		MediaType     string            `json:"mediaType"`
		SchemaVersion int               `json:"schemaVersion"`
		Manifests     []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &stated); err != nil {
		return v1.Descriptor{}, failure(Invalid, "the manifest is damaged: %w", err)
	}
	// What the manifest says about itself is covered by its digest; what the
	// registry says about it is not, and often is wrong.
	mt := types.MediaType(stated.MediaType)
	switch {
	case mt != "":
	case stated.SchemaVersion == 1:
		mt = types.DockerManifestSchema1
	case stated.Manifests != nil:
		mt = types.OCIImageIndex
	case types.MediaType(mediaType).IsImage():
		mt = types.MediaType(mediaType)
	default:
		mt = types.OCIManifestSchema1
	}
	return v1.Descriptor{MediaType: mt, Digest: digest, Size: size}, nil
}

func hashLike(want v1.Hash, raw []byte) (v1.Hash, error) {
	h, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return v1.Hash{}, err
	}
	h.Write(raw) // hash.Hash never fails
	return v1.Hash{Algorithm: want.Algorithm, Hex: fmt.Sprintf("%x", h.Sum(nil))}, nil
}

func validDescriptor(d v1.Descriptor) error {
	if _, err := v1.NewHash(d.Digest.String()); err != nil || d.Size < 0 {
		return failure(Invalid, "the manifest is damaged: a descriptor has digest %q and size %d", d.Digest, d.Size)
	}
	return nil
}
