package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

// MayPush asks registries whether we may push to the destinations, by beginning an upload in each repository and giving it
// up. It is an error only if a later push could not succeed either: what may pass until then, or says nothing, is none.
func (d *Destinations) MayPush(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, repo := range d.Repositories() {
		g.Go(func() error { return d.client.mayPush(ctx, repo) })
	}
	return g.Wait()
}

func (c *Client) mayPush(ctx context.Context, repo name.Repository) error {
	err := wrap("asking for permission to push to", repo.String(), c.tryUpload(ctx, repo))
	var failed *Error
	if !errors.As(err, &failed) {
		return nil // or the build was stopped
	}
	switch failed.Kind {
	case Unauthorized, Unreachable, Untrusted:
		return err
	case NotFound:
		if _, _, missing := missingRepository(err); missing {
			return err
		}
	}
	return nil
}

// tryUpload begins an upload and gives it up (OCI distribution spec, "Pushing a blob in chunks").
func (c *Client) tryUpload(ctx context.Context, repo name.Repository) error {
	key := sessionKey{repo, c.opts.Push, c.opts.Retry.forAccess(c.opts.Push)}
	l := newLogins(c, repo, func(ctx context.Context, auth authn.Authenticator) (http.RoundTripper, error) {
		return c.authenticated(ctx, key, auth, transport.PushScope)
	})
	s := &session{repo: repo, http: &http.Client{Transport: loginTransport{l}, CheckRedirect: refuseInwardRedirect}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url("blobs", "uploads/"), nil)
	if err != nil {
		return err
	}
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusAccepted, http.StatusCreated); err != nil {
		return err
	}
	s.giveUp(ctx, resp)
	return nil
}

// giveUp cancels the upload that resp began. A registry that cannot do that forgets it some day.
func (s *session) giveUp(ctx context.Context, resp *http.Response) {
	location, err := uploadLocation(resp.Request.URL, resp)
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, location.String(), nil)
	if err != nil {
		return
	}
	if resp, err := s.do(req); err == nil {
		drain(resp)
	}
}
