package build

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/sign"
)

// storage is where attestations go.
type storage string

// The places. With cosign, statements are signed, and stored with the signatures.
const (
	inIndex    storage = "index"
	withCosign storage = "cosign"
	inBoth     storage = "both"
)

func (s storage) index() bool  { return s != withCosign }
func (s storage) cosign() bool { return s == withCosign || s == inBoth }

func parseStorage(o *Options) (storage, error) {
	s := storage(o.Attest.Storage)
	switch s {
	case "":
		s = inIndex
	case inIndex, withCosign, inBoth:
	default:
		return s, fmt.Errorf("--attest-storage %q is not one of %s, %s, %s", o.Attest.Storage, inIndex, withCosign, inBoth)
	}
	if s.cosign() && !o.Sign.Wanted() {
		return s, fmt.Errorf("--attest-storage %s needs a signature: give --sign, too", s)
	}
	return s, nil
}

// openSigner reads the key, or finds the identity token, while nothing is built yet, and has what is pushed signed.
func (s *session) openSigner(ctx context.Context) error {
	if !s.Sign.Wanted() || s.Check {
		return nil
	}
	pushes := false
	for i, t := range s.outputs {
		if r, ok := t.output.(*output.Registry); ok {
			s.outputs[i].output, pushes = r.Endorsed(endorser{s}), true
		}
	}
	if !pushes {
		s.note("nothing is signed, because nothing is pushed")
		return nil
	}
	var err error
	s.signer, err = sign.New(ctx, s.Sign, s.client)
	return SignerError(ctx, err)
}

// SignerError says that what kept a signer from being made is a mistake in the call, unless a service did.
func SignerError(ctx context.Context, err error) error {
	var service *sign.ServiceError
	if err == nil || ctx.Err() != nil || errors.As(err, &service) {
		return err
	}
	return &UsageError{err}
}

// endorser signs what is pushed. It implements output.Endorser.
type endorser struct{ *session }

// Endorse implements output.Endorser: it signs the index, if there is one, and each image, and with them the statements that go there.
func (e endorser) Endorse(ctx context.Context, repo name.Repository, b *image.Built) error {
	return e.display.Step(ctx, fmt.Sprintf("signing %s@%s", repo, b.Digest()), func(ctx context.Context, log io.Writer) error {
		subjects := []v1.Hash{b.Digest()}
		for _, img := range b.Images() {
			digest, err := img.Digest()
			if err != nil {
				return err
			}
			if digest != b.Digest() {
				subjects = append(subjects, digest)
			}
		}
		for _, digest := range subjects {
			if err := e.signer.Sign(ctx, repo.Digest(digest.String())); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(log, "signed %s by %s\n", digest, e.signer); err != nil {
				return err
			}
		}
		return e.attestAll(ctx, repo, b, log)
	})
}

// attestAll signs what is said about the images.
func (e endorser) attestAll(ctx context.Context, repo name.Repository, b *image.Built, log io.Writer) error {
	if !e.plan.storage.cosign() {
		return nil
	}
	for i, img := range b.Images() {
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		for _, said := range b.Statements(i) {
			if err := e.signer.Attest(ctx, repo.Digest(digest.String()), said.Content); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(log, "attested %s: %s\n", digest, said.PredicateType); err != nil {
				return err
			}
		}
	}
	return nil
}
