package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	cosigntypes "github.com/sigstore/cosign/v2/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/encoding/protojson"
)

// The media types of bundles, and of a config that says nothing (OCI image specification 1.1).
const (
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	emptyType  = "application/vnd.oci.empty.v1+json"
)

// predicateAnnotation says what a bundle is about.
const predicateAnnotation = "dev.sigstore.bundle.predicateType"

// referrers is the store of bundles: each one is a manifest that refers to the image.
type referrers struct{ *lender }

// imageClaim implements store.
func (r *referrers) imageClaim(subject name.Digest, annotations map[string]string) (claim, error) {
	return imageStatement(subject, annotations)
}

// has implements store.
func (r *referrers) has(ctx context.Context, subject name.Digest, c claim) (found bool, err error) {
	err = r.write(ctx, subject, func(opts []remote.Option) error {
		index, err := remote.Referrers(subject, opts...)
		if err != nil {
			return err
		}
		list, err := index.IndexManifest()
		if err != nil {
			return err
		}
		for _, d := range list.Manifests {
			// Some registries give the type of the config.
			if !strings.HasPrefix(d.ArtifactType, "application/vnd.dev.sigstore.bundle") && d.ArtifactType != emptyType && d.ArtifactType != "" {
				continue
			}
			if kind := d.Annotations[predicateAnnotation]; kind != "" && kind != c.predicateType {
				continue
			}
			b, err := ociremote.Bundle(subject.Context().Digest(d.Digest.String()), ociremote.WithRemoteOptions(opts...))
			if err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				continue // what refers to the image need not be ours, nor be there any more
			}
			if found = r.same(b, c); found {
				return nil
			}
		}
		return nil
	})
	return found, err
}

// same reports whether b has our key's signature over c, with the proofs that it would have today.
func (r *referrers) same(b *bundle.Bundle, c claim) bool {
	m, e := b.GetVerificationMaterial(), b.GetDsseEnvelope()
	if len(m.GetTlogEntries()) < len(r.services.rekor) || len(m.GetTimestampVerificationData().GetRfc3161Timestamps()) < len(r.services.tsa) ||
		!bytes.Equal(e.GetPayload(), c.payload) || e.GetPayloadType() != cosigntypes.IntotoPayloadType {
		return false
	}
	for _, s := range e.GetSignatures() {
		if r.signs(s.GetSig(), c.content().PreAuthEncoding()) {
			return true
		}
	}
	return false
}

// add implements store.
func (r *referrers) add(ctx context.Context, subject name.Digest, s *signed) error {
	content, err := protojson.Marshal(s.bundle)
	if err != nil {
		return fmt.Errorf("encoding the bundle: %w", err)
	}
	return r.write(ctx, subject, func(opts []remote.Option) error {
		about, err := remote.Head(subject, opts...)
		if err != nil {
			return err
		}
		m := v1.Manifest{
			SchemaVersion: 2,
			MediaType:     types.OCIManifestSchema1,
			ArtifactType:  bundleType,
			Subject:       &v1.Descriptor{MediaType: about.MediaType, Digest: about.Digest, Size: about.Size},
			Annotations: map[string]string{
				"org.opencontainers.image.created": time.Now().UTC().Format(time.RFC3339),
				"dev.sigstore.bundle.content":      "dsse-envelope",
				predicateAnnotation:                s.predicateType,
			},
		}
		if m.Config, err = upload(subject.Repository, []byte("{}"), emptyType, opts); err != nil {
			return err
		}
		layer, err := upload(subject.Repository, content, bundleType, opts)
		if err != nil {
			return err
		}
		m.Layers = []v1.Descriptor{layer}
		raw, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encoding the manifest: %w", err)
		}
		digest, _, err := v1.SHA256(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		return remote.Put(subject.Context().Digest(digest.String()), manifest(raw), opts...)
	})
}

// upload stores a blob and describes it.
func upload(repo name.Repository, content []byte, mediaType types.MediaType, opts []remote.Option) (v1.Descriptor, error) {
	blob := static.NewLayer(content, mediaType)
	digest, err := blob.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}, remote.WriteLayer(repo, blob, opts...)
}

// manifest is one that is sent as it is.
type manifest []byte

// RawManifest implements remote.Taggable.
func (m manifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType is what the registry is told.
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
