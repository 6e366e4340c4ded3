package registry

import (
	"context"
	"errors"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// uploads is how many blobs are sent to one repository at once. More than a few do not make
// one pod's network faster, and registries limit them.
const uploads = 4

// pushing calls use with what pushes to a repository, with the credentials that it takes.
func (c *Client) pushing(ctx context.Context, repo name.Repository, use func(*remote.Pusher) error) error {
	l, ok := c.pushers.Load(repo)
	if !ok {
		l, _ = c.pushers.LoadOrStore(repo, newLogins(c, repo, c.newPusher))
	}
	return l.(*logins[*remote.Pusher]).do(ctx, use)
}

func (c *Client) newPusher(_ context.Context, auth authn.Authenticator) (*remote.Pusher, error) {
	retry := c.opts.Retry.forAccess(c.opts.Push)
	return remote.NewPusher(
		remote.WithTransport(verifyPut{blobUploads{guarded{c.roundTripper(c.opts.Push, retry)}, retry, &sync.Map{}}, retry.Attempts}),
		remote.WithAuth(auth),
		remote.WithUserAgent(c.opts.UserAgent),
		remote.WithJobs(uploads),
		// Requests are repeated by our own transport, which honors
		// Retry-After and goes on with an upload that broke off; what is left for the library is
		// to start it again where that cannot be, which only it can.
		remote.WithRetryStatusCodes(),
		remote.WithRetryPredicate(isBrokenUpload),
		remote.WithRetryBackoff(remote.Backoff{
			Duration: retry.Base, Factor: 2, Jitter: 0.5, Steps: retry.Attempts, Cap: retry.Max,
		}),
	)
}

// Manifest is an image or an index that can be pushed: a v1.Image or a v1.ImageIndex.
type Manifest interface {
	remote.Taggable
	partial.Describable
}

// Push sends m under ref, after everything that m refers to. What the repository has is not
// sent again, and blobs that know another repository of the registry are mounted from there.
func (c *Client) Push(ctx context.Context, ref name.Reference, m Manifest) error {
	return wrap("pushing", ref.String(), c.pushing(ctx, ref.Context(), func(p *remote.Pusher) error {
		return p.Push(ctx, ref, m)
	}))
}

// Tag puts m, which has been pushed to the repository already, under a tag.
func (c *Client) Tag(ctx context.Context, tag name.Tag, m Manifest) error {
	err := c.pushing(ctx, tag.Context(), func(p *remote.Pusher) error { return p.Put(ctx, tag, m) })
	if isImmutable(err) {
		err = c.keep(ctx, tag, m, err)
	}
	return wrap("tagging", tag.String(), err)
}

// Verify asks the registry what it has under m's digest and compares. A registry that does not say,
// such as to credentials that may only push, gives a warning and not an error.
func (c *Client) Verify(ctx context.Context, repo name.Repository, m Manifest) error {
	desc, err := partial.Descriptor(m)
	if err != nil {
		return err
	}
	ref := repo.Digest(desc.Digest.String())
	err = wrap("verifying", ref.String(), c.verify(ctx, repo, *desc))
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind == DigestMismatch || ctx.Err() != nil {
		return err
	}
	c.opts.Warn("the push succeeded, but the registry cannot be asked what it stored: " + err.Error())
	return nil
}

func (c *Client) verify(ctx context.Context, repo name.Repository, desc v1.Descriptor) error {
	s, err := c.session(ctx, repo, c.opts.Push)
	if err != nil {
		return err
	}
	size, digest, err := s.head(ctx, desc.Digest.String())
	if err != nil {
		return err
	}
	if digest != "" && digest != desc.Digest.String() {
		return &digestError{what: "manifest in the registry", want: desc.Digest.String(), got: digest}
	}
	if size >= 0 && size != desc.Size {
		return failure(DigestMismatch, "the manifest in the registry has %d bytes, ours %d", size, desc.Size)
	}
	return nil
}
