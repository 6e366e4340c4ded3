// Package sigstore verifies that images are signed as a policy requires it, by sigstore's own libraries. It contacts
// nobody but the registry that an image is in: whom to trust is in the policy.
package sigstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Registry lends what it takes to speak to repositories; see [registry.Client.Lend].
type Registry interface {
	Lend(ctx context.Context, repo name.Repository, write bool, use func([]remote.Option) error) error
}

// Verifier implements [policy.Verifier]. It is for one build, and reads the signatures of an image once.
type Verifier struct {
	registry Registry
	life     context.Context
	attached memo.Memo[subject, []attached]
	bundles  memo.Memo[subject, []bundled]
}

var _ policy.Verifier = (*Verifier)(nil)

// New returns a verifier for a build that ends with life.
func New(life context.Context, r Registry) *Verifier { return &Verifier{registry: r, life: life} }

// subject is what has signatures: a manifest or an index, where it lies.
type subject struct {
	repo   name.Repository
	digest v1.Hash
}

// signature is one that is to be verified.
type signature interface {
	// verify returns nil if the signature is one that s requires, for a subject that is i.
	verify(ctx context.Context, of subject, i *policy.Image, s *policy.Signed) error
}

// Verify implements [policy.Verifier]. The image is signed if what was named is: an index says by its digest which
// images belong to it. So it is if the platform's own manifest is signed, which is what other tools look at.
//
// Signatures are looked for where the image came from first, then in the other places that it could have come from.
func (v *Verifier) Verify(ctx context.Context, i *policy.Image, found *registry.Found, s *policy.Signed) error {
	digests := []v1.Hash{found.Digest}
	if found.Manifest != found.Digest && found.Manifest != (v1.Hash{}) {
		digests = append(digests, found.Manifest)
	}
	refused := &policy.UnsignedError{}
	for n, repo := range found.Places {
		why, err := v.verifyIn(ctx, repo, digests, i, s)
		switch {
		case err == nil && why == nil:
			return nil
		case err != nil && (n == 0 || ctx.Err() != nil):
			return err
		case err != nil:
			why = []string{err.Error()}
		}
		for _, w := range why {
			if !slices.Contains(refused.Why, w) { // other places have the same signatures
				refused.Why = append(refused.Why, w)
			}
		}
	}
	return refused
}

// verifyIn looks for a signature in one repository. If there is none that is accepted, it says of each why not.
func (v *Verifier) verifyIn(ctx context.Context, repo name.Repository, digests []v1.Hash, i *policy.Image, s *policy.Signed) (why []string, err error) {
	why = []string{}
	for _, digest := range digests {
		of := subject{repo, digest}
		all, err := v.signatures(ctx, of, s)
		if err != nil {
			return nil, err
		}
		for _, sig := range all {
			err := safely(func() error { return sig.verify(ctx, of, i, s) })
			if err == nil {
				return nil, nil
			}
			why = append(why, plain(err))
		}
	}
	return why, nil
}

// plain is an error of cosign's library on one line, without advice to cosign's users.
func plain(err error) string {
	text, _, _ := strings.Cut(err.Error(), ". Check your TUF root")
	return strings.Join(strings.Fields(text), " ")
}

// signatures are those of a subject that could be what s requires. Bundles name no image, so only where none need be
// named is there a point in asking for them.
func (v *Verifier) signatures(ctx context.Context, of subject, s *policy.Signed) ([]signature, error) {
	var all []signature
	classic, err := v.attached.Do(ctx, v.life, of, func(ctx context.Context) ([]attached, error) { return v.readAttached(ctx, of) })
	if err != nil {
		return nil, fmt.Errorf("reading signatures: %w", err)
	}
	for _, a := range classic {
		all = append(all, a)
	}
	if !s.Identity.AnyName() {
		return all, nil
	}
	bundles, err := v.bundles.Do(ctx, v.life, of, func(ctx context.Context) ([]bundled, error) { return v.readBundles(ctx, of) })
	if err != nil {
		return nil, fmt.Errorf("reading signature bundles: %w", err)
	}
	for _, b := range bundles {
		all = append(all, b)
	}
	return all, nil
}

// safely calls verify. Libraries that read what anybody may have put into a registry are not trusted to survive it.
func safely(verify func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is malformed: %v", p)
		}
	}()
	return verify()
}

// anyOf returns nil if accept does for one of some things, else why it does not for each.
func anyOf[T any](some []T, accept func(T) error) error {
	var errs []error
	for _, t := range some {
		err := accept(t)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
