package sigstore

import (
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/slipway-build/slipway/pkg/policy"
)

// bundled is a signature as a sigstore bundle that refers to the image, cosign's form since its version 3.
type bundled struct{ raw []byte }

// Of the artifacts that refer to an image, those that can be bundles have one of these types; the second stands for what registries
// report that take it from the config.
const (
	bundleType = "application/vnd.dev.sigstore.bundle"
	emptyType  = "application/vnd.oci.empty.v1+json"
)

// readBundles reads what refers to a subject and is a bundle: what is signed is in it.
func (v *Verifier) readBundles(ctx context.Context, of subject) ([]bundled, error) {
	var all []bundled
	err := v.registry.Lend(ctx, of.repo, false, func(opts []remote.Option) error {
		all = nil
		index, err := remote.Referrers(of.repo.Digest(of.digest.String()), opts...)
		if err != nil {
			return err
		}
		m, err := index.IndexManifest()
		if err != nil {
			return err
		}
		for _, desc := range m.Manifests {
			if !strings.HasPrefix(desc.ArtifactType, bundleType) && desc.ArtifactType != emptyType && desc.ArtifactType != "" {
				continue
			}
			if len(all) >= maxSignatures {
				return fmt.Errorf("there are more than the %d bundles that are looked at", maxSignatures)
			}
			b, err := readBundle(of, desc, opts)
			if err != nil {
				return err
			}
			if b != nil {
				all = append(all, bundled{b})
			}
		}
		return nil
	})
	return all, err
}

// readBundle reads an artifact, if it is a bundle.
func readBundle(of subject, desc v1.Descriptor, opts []remote.Option) ([]byte, error) {
	img, err := remote.Image(of.repo.Digest(desc.Digest.String()), opts...)
	if absent(err) { // an index that lists it is not always kept up to date
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != 1 || !strings.HasPrefix(string(m.Layers[0].MediaType), bundleType) {
		return nil, nil
	}
	return readLayer(img, m.Layers[0])
}

// verify implements signature.
func (b bundled) verify(ctx context.Context, of subject, _ *policy.Image, s *policy.Signed) error {
	var parsed bundle.Bundle
	if err := parsed.UnmarshalJSON(b.raw); err != nil {
		return fmt.Errorf("a bundle: %w", err)
	}
	if s.Keys != nil {
		return anyOf(s.Keys, func(key crypto.PublicKey) error {
			co, err := keyOptions(key, s)
			if err != nil {
				return err
			}
			return check(ctx, &parsed, co, of, s)
		})
	}
	co, err := certificateOptions(s, nil)
	if err != nil {
		return err
	}
	if err := check(ctx, &parsed, co, of, s); err != nil {
		return err
	}
	content, err := parsed.VerificationContent()
	if err != nil {
		return err
	}
	return checkSubject(content.Certificate(), s)
}

// check verifies a bundle. It may be one for anything that can be said of an image; only that of a signature counts.
func check(ctx context.Context, b *bundle.Bundle, co *cosign.CheckOpts, of subject, s *policy.Signed) error {
	var err error
	if co.TrustedMaterial, err = newMaterial(s); err != nil {
		return err
	}
	digest, err := hex.DecodeString(of.digest.Hex)
	if err != nil {
		return err
	}
	result, err := cosign.VerifyNewBundle(ctx, co, verify.WithArtifactDigest(of.digest.Algorithm, digest), b)
	switch {
	case err != nil:
		return err
	case result.Statement == nil:
		return errors.New("it is a bundle without a statement")
	case result.Statement.GetPredicateType() != types.CosignSignPredicateType:
		return fmt.Errorf("it is an attestation of %s", result.Statement.GetPredicateType())
	}
	return nil
}
