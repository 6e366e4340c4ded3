package registry

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// loan is what a library needs to speak to a repository with one of its credentials.
type loan struct {
	puller *remote.Puller
	pusher *remote.Pusher
}

// Lend calls use with options by which go-containerregistry's package remote, and libraries on top of it, speak to a
// repository as the client does: over its connections, with its certificates and retries, and with the repository's credentials, one
// after the other until one is not refused. So use may be called several times, and must not hide the registry's error. write
// chooses between what holds for pushing and for pulling.
func (c *Client) Lend(ctx context.Context, repo name.Repository, write bool, use func([]remote.Option) error) error {
	key := lendKey{repo, write}
	l, ok := c.loans.Load(key)
	if !ok {
		l, _ = c.loans.LoadOrStore(key, newLogins(c, repo, func(ctx context.Context, auth authn.Authenticator) (*loan, error) {
			return c.newLoan(ctx, auth, write)
		}))
	}
	doing := "reading"
	if write {
		doing = "writing to"
	}
	return wrap(doing, repo.String(), l.(*logins[*loan]).do(ctx, func(l *loan) error {
		return use([]remote.Option{remote.WithContext(ctx), remote.Reuse(l.puller), remote.Reuse(l.pusher)})
	}))
}

// lendKey is one direction to one repository.
type lendKey struct {
	repo  name.Repository
	write bool
}

func (c *Client) newLoan(ctx context.Context, auth authn.Authenticator, write bool) (*loan, error) {
	pusher, err := c.newPusher(ctx, auth)
	if err != nil {
		return nil, err
	}
	access := c.opts.Pull
	if write {
		access = c.opts.Push
	}
	puller, err := remote.NewPuller(
		remote.WithTransport(guarded{c.roundTripper(access, c.opts.Retry.forAccess(access))}),
		remote.WithAuth(auth),
		remote.WithUserAgent(c.opts.UserAgent),
		remote.WithRetryStatusCodes(), // our own transport repeats
	)
	return &loan{puller, pusher}, err
}
