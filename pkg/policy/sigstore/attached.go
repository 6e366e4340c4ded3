package sigstore

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/slipway-build/slipway/pkg/policy"
)

// Limits on what is read from a registry. Both are far above what exists.
const (
	maxSignatures = 1000
	maxSignature  = 1 << 20
)

// attached is a signature in the image with the tag sha256-….sig, cosign's form until its version 3.
type attached struct {
	payload     []byte // what is signed
	annotations map[string]string
}

// readAttached reads the signatures of a subject; none if there is no such tag.
func (v *Verifier) readAttached(ctx context.Context, of subject) ([]attached, error) {
	var all []attached
	err := v.registry.Lend(ctx, of.repo, false, func(opts []remote.Option) error {
		tag, err := ociremote.SignatureTag(of.repo.Digest(of.digest.String()))
		if err != nil {
			return err
		}
		img, err := remote.Image(tag, opts...)
		if absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		all, err = attachedTo(img)
		return err
	})
	return all, err
}

// absent reports whether a registry says that something is not there.
func absent(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

func attachedTo(img v1.Image) ([]attached, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if n := len(m.Layers); n > maxSignatures {
		return nil, fmt.Errorf("there are %d signatures, more than the %d that are looked at", n, maxSignatures)
	}
	payloads := map[v1.Hash][]byte{}
	var all []attached
	for _, desc := range m.Layers {
		content, ok := payloads[desc.Digest]
		if !ok {
			if content, err = readLayer(img, desc); err != nil {
				return nil, err
			}
			payloads[desc.Digest] = content
		}
		all = append(all, attached{content, desc.Annotations})
	}
	return all, nil
}

// readLayer reads a small blob as it is.
func readLayer(img v1.Image, desc v1.Descriptor) ([]byte, error) {
	if desc.Size > maxSignature {
		return nil, fmt.Errorf("%s has %d bytes, more than a signature has", desc.Digest, desc.Size)
	}
	l, err := img.LayerByDigest(desc.Digest)
	if err != nil {
		return nil, err
	}
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// verify implements signature.
func (a attached) verify(ctx context.Context, of subject, i *policy.Image, s *policy.Signed) error {
	if s.Keys != nil {
		sig, err := a.signature(nil, nil) // a certificate for the key is nothing that the policy asks for
		if err != nil {
			return err
		}
		return anyOf(s.Keys, func(key crypto.PublicKey) error {
			co, err := keyOptions(key, s)
			if err != nil {
				return err
			}
			return a.check(ctx, sig, co, of, i, s)
		})
	}
	cert, chain := a.annotations[static.CertificateAnnotationKey], a.annotations[static.ChainAnnotationKey]
	sig, err := a.signature([]byte(cert), []byte(chain))
	if err != nil {
		return err
	}
	co, err := certificateOptions(s, []byte(chain))
	if err != nil {
		return err
	}
	if err := a.check(ctx, sig, co, of, i, s); err != nil {
		return err
	}
	c, err := sig.Cert()
	if err != nil {
		return err
	}
	return checkSubject(c, s)
}

// signature is the signature as cosign's library has it.
func (a attached) signature(cert, chain []byte) (oci.Signature, error) {
	b64, ok := a.annotations[static.SignatureAnnotationKey]
	if !ok {
		return nil, errors.New("it has no signature in it")
	}
	var opts []static.Option
	if len(cert) > 0 {
		opts = append(opts, static.WithCertChain(cert, chain))
	}
	if raw := a.annotations[static.BundleAnnotationKey]; raw != "" {
		logged := &bundle.RekorBundle{}
		if err := json.Unmarshal([]byte(raw), logged); err != nil {
			return nil, fmt.Errorf("its entry in the transparency log: %w", err)
		}
		opts = append(opts, static.WithBundle(logged))
	}
	return static.NewSignature(a.payload, b64, opts...)
}

// check verifies the signature, and that it is for the image that was named.
func (a attached) check(ctx context.Context, sig oci.Signature, co *cosign.CheckOpts, of subject, i *policy.Image, s *policy.Signed) error {
	if len(s.Rekor) > 0 {
		if logged, err := sig.Bundle(); err != nil {
			return err
		} else if logged == nil {
			return errors.New("it is in no transparency log")
		}
	}
	co.ClaimVerifier = func(sig oci.Signature, digest v1.Hash, annotations map[string]any) error {
		if err := cosign.SimpleClaimVerifier(sig, digest, annotations); err != nil {
			return err
		}
		return claims(a.payload, i, s)
	}
	_, err := cosign.VerifyImageSignature(ctx, sig, of.digest, co)
	return err
}

// claims compares what a signature is for with the image.
func claims(signed []byte, i *policy.Image, s *policy.Signed) error {
	var claim payload.SimpleContainerImage
	if err := json.NewDecoder(bytes.NewReader(signed)).Decode(&claim); err != nil {
		return err
	}
	if kind := claim.Critical.Type; kind != payload.CosignSignatureType {
		return fmt.Errorf("it is a %q", kind)
	}
	return s.Identity.Match(i, claim.Critical.Identity.DockerReference)
}
