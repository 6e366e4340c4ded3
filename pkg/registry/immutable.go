package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// isImmutable reports whether a registry refuses to put a manifest under a tag because the tag exists and must not
// change. Registries agree neither on status nor on code: ECR has 400 and TAG_INVALID, Artifact Registry 400 or 412 and
// MANIFEST_INVALID, Harbor 412 and PRECONDITION, Quay 409. The word is all that they have in common.
func isImmutable(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) || answer.Request == nil || !isManifestPut(answer.Request) || answer.StatusCode/100 != 4 {
		return false
	}
	said := strings.ToLower(answer.Error())
	return strings.Contains(said, "immutab") || strings.Contains(said, "imagetagalreadyexists")
}

// keep decides about a tag that the registry refused to give to m, with refused. One that m has already is as it should be.
func (c *Client) keep(ctx context.Context, tag name.Tag, m Manifest, refused error) error {
	ours, err := m.Digest()
	if err != nil {
		return err
	}
	named := "something else"
	if s, err := c.session(ctx, tag.Context(), c.opts.Push); err != nil {
		return err
	} else if digest, err := s.digest(ctx, tag.TagStr()); err == nil {
		named = digest
	}
	switch {
	case named == ours.String():
		return nil
	case c.opts.KeepTags:
		c.opts.Warn(fmt.Sprintf("%s is immutable, and stays what it was: %s; the image of this build is %s", tag, named, tag.Context().Digest(ours.String())))
		return nil
	}
	return failure(Other, "the tag exists, and the registry does not let it be changed: it is %s, and the image of this build %s. "+
		"Choose another tag, or leave this one as it is by --push-ignore-immutable-tag-errors: %w", named, ours, refused)
}
