package fanin

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/sign"
)

// openSigner reads the key, or finds the identity token, while nothing is pushed yet.
func (j *Join) openSigner(ctx context.Context) (err error) {
	if !j.Sign.Wanted() {
		return nil
	}
	if j.NoPush {
		j.log.printf("nothing is signed, because nothing is pushed")
		return nil
	}
	o := j.Sign
	o.Log = func(line string) { j.log.printf("%s", line) }
	j.signer, err = sign.New(ctx, o, j.client)
	return err
}

// sign signs, in each repository, the index and the images in it, which a node may pull by their own digests. What is said about them is in
// the index, and thus signed with it.
func (j *Join) sign(ctx context.Context, x *index, entries []entry) error {
	if j.signer == nil {
		return nil
	}
	subjects := []v1.Hash{x.digest}
	for _, e := range entries {
		if !e.attests() && !slices.Contains(subjects, e.desc.Digest) {
			subjects = append(subjects, e.desc.Digest)
		}
	}
	for _, repo := range j.to.Repositories() {
		for _, digest := range subjects {
			if err := j.signer.Sign(ctx, repo.Digest(digest.String())); err != nil {
				return err
			}
		}
	}
	return nil
}
