package image

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Statement is something that is said about an image, in in-toto's form.
type Statement struct {
	// Name is that of the file that it becomes where an output writes plain files, such as "provenance.json".
	Name string
	// PredicateType is a URI that says of what kind it is.
	PredicateType string
	// Content is the statement as JSON, its subject included.
	Content []byte
}

// What BuildKit calls the manifests that hold statements, and the notes in an index that say of which image they are.
// https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
const (
	attestationType  = "application/vnd.docker.attestation.manifest.v1+json"
	inTotoType       = types.MediaType("application/vnd.in-toto+json")
	predicateKey     = "in-toto.io/predicate-type"
	referenceTypeKey = "vnd.docker.reference.type"
	referenceKey     = "vnd.docker.reference.digest"
	isAttestation    = "attestation-manifest"
)

// Describe gives the image with statements that are known to outputs and attached to nothing; all[i] are about Images()[i].
func (b *Built) Describe(all [][]Statement) (*Built, error) {
	if len(all) != len(b.images) {
		return nil, fmt.Errorf("%d sets of statements for %d images", len(all), len(b.images))
	}
	described := *b
	described.statements = all
	return &described, nil
}

// Attest gives the image in an index that also has a manifest with the statements about each platform's image, as BuildKit
// attaches them; all[i] are about Images()[i]. The images themselves stay as they are.
func (b *Built) Attest(all [][]Statement) (*Built, error) {
	if b.options.Docker {
		return nil, errors.New("attestations need OCI's media types, not Docker's")
	}
	attested, err := b.Describe(all)
	if err != nil {
		return nil, err
	}
	attested.attestations = make([]*Attestation, len(b.images))
	for i, img := range b.images {
		if len(all[i]) == 0 {
			continue
		}
		if attested.attestations[i], err = newAttestation(img, all[i]); err != nil {
			return nil, err
		}
	}
	attested.index, err = newIndex(attested.images, attested.Attestations(), &attested.options)
	return attested, err
}

// Statements are those about Images()[i].
func (b *Built) Statements(i int) []Statement {
	if i >= len(b.statements) {
		return nil
	}
	return b.statements[i]
}

// Attestation is the manifest of the index that holds the statements about Images()[i]; nil if there are none.
func (b *Built) Attestation(i int) *Attestation {
	if i >= len(b.attestations) {
		return nil
	}
	return b.attestations[i]
}

// Attestations are the manifests of the index that hold statements.
func (b *Built) Attestations() []*Attestation {
	return slices.DeleteFunc(slices.Clone(b.attestations), func(a *Attestation) bool { return a == nil })
}

// Attestation is a manifest with the statements about one image, which the OCI specification calls an artifact ("Guidelines for
// Artifact Usage"). It implements v1.Image.
type Attestation struct {
	v1.Image
	desc v1.Descriptor
	// statements are descriptors of the blobs, in the order of the statements.
	statements []v1.Descriptor
}

// Descriptor describes the manifest as an index does.
func (a *Attestation) Descriptor() (*v1.Descriptor, error) { return a.desc.DeepCopy(), nil }

// List describes the blobs of the statements, in their order.
func (a *Attestation) List() []v1.Descriptor { return append([]v1.Descriptor(nil), a.statements...) }

func newAttestation(about *Image, list []Statement) (*Attestation, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: attestationType,
		Config: ocispec.DescriptorEmptyJSON,
		Subject: &ocispec.Descriptor{
			MediaType: string(about.desc.MediaType), Digest: digest.Digest(about.desc.Digest.String()), Size: about.desc.Size,
		},
	}
	core := &artifact{blobs: map[v1.Hash]v1.Layer{}}
	a := &Attestation{}
	for _, s := range list {
		blob := static.NewLayer(s.Content, inTotoType)
		desc, err := partial.Descriptor(blob)
		if err != nil {
			return nil, err
		}
		desc.Annotations = map[string]string{predicateKey: s.PredicateType}
		core.blobs[desc.Digest] = blob
		a.statements = append(a.statements, *desc)
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: string(inTotoType), Digest: digest.Digest(desc.Digest.String()), Size: desc.Size, Annotations: desc.Annotations,
		})
	}
	var err error
	if core.manifest, err = indent(m); err != nil {
		return nil, err
	}
	if a.Image, err = partial.CompressedToImage(core); err != nil {
		return nil, err
	}
	hash, size, err := v1.SHA256(bytes.NewReader(core.manifest))
	if err != nil {
		return nil, err
	}
	a.desc = v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Digest: hash, Size: size,
		Annotations: map[string]string{referenceTypeKey: isAttestation, referenceKey: about.desc.Digest.String()},
		Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
	}
	return a, nil
}

// artifact is a manifest with an empty config. It implements partial.CompressedImageCore.
type artifact struct {
	manifest []byte
	blobs    map[v1.Hash]v1.Layer
}

// RawConfigFile implements partial.CompressedImageCore.
func (a *artifact) RawConfigFile() ([]byte, error) {
	return bytes.Clone(ocispec.DescriptorEmptyJSON.Data), nil
}

// MediaType implements partial.CompressedImageCore.
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// RawManifest implements partial.CompressedImageCore.
func (a *artifact) RawManifest() ([]byte, error) { return bytes.Clone(a.manifest), nil }

// LayerByDigest implements partial.CompressedImageCore.
func (a *artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	l, ok := a.blobs[h]
	if !ok {
		return nil, fmt.Errorf("the attestation has no blob %s", h)
	}
	return l, nil
}
