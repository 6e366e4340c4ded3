package sign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/mutate"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/cosign/v2/pkg/types"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/slipway-build/slipway/pkg/registry"
)

// lender is what stores need.
type lender struct {
	client   *registry.Client
	services *services
	verifier signature.Verifier // of the key that signs; nil without one
}

// write speaks to the repository of a subject, with the permission to write.
func (l *lender) write(ctx context.Context, subject name.Digest, use func([]remote.Option) error) error {
	return l.client.Lend(ctx, subject.Repository, true, use)
}

// signs reports whether sig is our key's signature over data.
func (l *lender) signs(sig, data []byte) bool {
	return l.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(data)) == nil
}

// tags is the classic store: an image whose layers are the signatures, or the signed statements, at a tag that is made from the digest.
type tags struct{ *lender }

// imageClaim implements store.
func (t *tags) imageClaim(subject name.Digest, annotations map[string]string) (claim, error) {
	return simpleSigning(subject, annotations)
}

// has implements store.
func (t *tags) has(ctx context.Context, subject name.Digest, c claim) (found bool, err error) {
	err = t.write(ctx, subject, func(opts []remote.Option) error {
		there, err := t.list(subject, c, opts)
		if err != nil {
			return err
		}
		all, err := there.Get()
		if err != nil {
			return err
		}
		for _, s := range all {
			if found, err = t.same(s, c); found || err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// list reads what there is of the kind that c is.
func (t *tags) list(subject name.Digest, c claim, opts []remote.Option) (oci.Signatures, error) {
	entity := ociremote.SignedUnknown(subject, ociremote.WithRemoteOptions(opts...))
	if c.isStatement() {
		return entity.Attestations()
	}
	return entity.Signatures()
}

// same reports whether s is our key's signature over c, with the proofs that it would have today.
func (t *tags) same(s oci.Signature, c claim) (bool, error) {
	annotations, err := s.Annotations()
	if err != nil {
		return false, err
	}
	if len(t.services.rekor) > 0 && annotations[static.BundleAnnotationKey] == "" ||
		len(t.services.tsa) > 0 && annotations[static.RFC3161TimestampAnnotationKey] == "" {
		return false, nil
	}
	if !c.isStatement() {
		digest, err := s.Digest()
		if err != nil {
			return false, err
		}
		raw, err := base64.StdEncoding.DecodeString(annotations[static.SignatureAnnotationKey])
		return err == nil && digest == c.digest() && t.signs(raw, c.payload), nil
	}
	if kind := annotations["predicateType"]; kind != "" && kind != c.predicateType {
		return false, nil // it may be long: it is not fetched
	}
	stored, err := s.Payload()
	if err != nil {
		return false, err
	}
	var e protodsse.Envelope
	if err := json.Unmarshal(stored, &e); err != nil {
		return false, nil //nolint:nilerr // somebody else's, and not for us to complain about
	}
	if !bytes.Equal(e.GetPayload(), c.payload) || e.GetPayloadType() != types.IntotoPayloadType {
		return false, nil
	}
	for _, s := range e.GetSignatures() {
		if t.signs(s.GetSig(), c.content().PreAuthEncoding()) {
			return true, nil
		}
	}
	return false, nil
}

// add implements store.
func (t *tags) add(ctx context.Context, subject name.Digest, s *signed) error {
	layer, err := t.layer(ctx, s)
	if err != nil {
		return err
	}
	return t.write(ctx, subject, func(opts []remote.Option) error {
		there, err := t.list(subject, s.claim, opts)
		if err != nil {
			return err
		}
		all, err := mutate.AppendSignatures(there, false, layer)
		if err != nil {
			return err
		}
		tag, err := t.tag(subject, s.claim)
		if err != nil {
			return err
		}
		return remote.Write(tag, all, opts...)
	})
}

// tag is where the list of c's kind is.
func (t *tags) tag(subject name.Digest, c claim) (name.Tag, error) {
	if c.isStatement() {
		return ociremote.AttestationTag(subject)
	}
	return ociremote.SignatureTag(subject)
}

// layer is a signature as cosign stores it.
func (t *tags) layer(ctx context.Context, s *signed) (oci.Signature, error) {
	var opts []static.Option
	if s.leaf != nil {
		opts = append(opts, static.WithCertChain(s.leaf, s.chain))
	}
	for _, e := range s.bundle.GetVerificationMaterial().GetTlogEntries() {
		b, err := logBundle(e)
		if err != nil {
			return nil, err
		}
		opts = append(opts, static.WithBundle(b))
	}
	var (
		raw = s.bundle.GetMessageSignature().GetSignature()
		err error
	)
	content := s.payload
	if s.isStatement() {
		// This is the form that has been entered into the log; the entry has its digest.
		if content, err = json.Marshal(s.bundle.GetDsseEnvelope()); err != nil {
			return nil, fmt.Errorf("encoding the statement: %w", err)
		}
		raw = content // cosign wants the time of the whole envelope
		opts = append(opts, static.WithLayerMediaType(types.DssePayloadType), static.WithAnnotations(map[string]string{"predicateType": s.predicateType}))
	}
	for _, authority := range t.services.timestampAuthorities(ctx) {
		stamp, err := timestamp(ctx, authority, raw)
		if err != nil {
			return nil, err
		}
		opts = append(opts, static.WithRFC3161Timestamp(bundle.TimestampToRFC3161Timestamp(stamp)))
	}
	if s.isStatement() {
		return static.NewAttestation(content, opts...)
	}
	return static.NewSignature(content, base64.StdEncoding.EncodeToString(raw), opts...)
}

func timestamp(ctx context.Context, authority *sign.TimestampAuthority, of []byte) ([]byte, error) {
	stamp, err := authority.GetTimestamp(ctx, of)
	if err != nil {
		return nil, plain(ctx, err)
	}
	return stamp, nil
}

// logBundle is an entry of the log as the classic format has it.
func logBundle(e *protorekor.TransparencyLogEntry) (*bundle.RekorBundle, error) {
	promise := e.GetInclusionPromise().GetSignedEntryTimestamp()
	if len(promise) == 0 {
		return nil, errors.New("the transparency log gave no signed entry timestamp, without which the classic format of signatures proves nothing")
	}
	return &bundle.RekorBundle{
		SignedEntryTimestamp: promise,
		Payload: bundle.RekorPayload{
			Body:           base64.StdEncoding.EncodeToString(e.GetCanonicalizedBody()),
			IntegratedTime: e.GetIntegratedTime(),
			LogIndex:       e.GetLogIndex(),
			LogID:          hex.EncodeToString(e.GetLogId().GetKeyId()),
		},
	}, nil
}
