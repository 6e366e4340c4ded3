package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/memo"
)

// logins are the ways to one repository, one for each of its credentials and the last one without any. A way that the
// registry refuses leads to the next one; the one that worked is the first to be tried from then on.
type logins[T any] struct {
	client *Client
	repo   name.Repository
	list   []credentials.Candidate
	open   func(context.Context, authn.Authenticator) (T, error)

	ways memo.Memo[int, T] // by index in list
	last atomic.Int64      // index of the one that worked
}

func newLogins[T any](c *Client, repo name.Repository, open func(context.Context, authn.Authenticator) (T, error)) *logins[T] {
	l := &logins[T]{client: c, repo: repo, open: open}
	if c.opts.Credentials != nil {
		l.list = c.opts.Credentials.Candidates(repo)
	}
	l.list = append(l.list, credentials.Anonymous())
	return l
}

// do calls use with one way after the other until one is not refused.
func (l *logins[T]) do(ctx context.Context, use func(T) error) error {
	var refused refusal
	for _, i := range l.order() {
		err := l.try(ctx, i, use)
		if ctx.Err() == nil && refuses(err) {
			refused.add(l.list[i].Name, err)
			continue
		}
		if answered(err) && l.last.Swap(int64(i)) != int64(i) && refused.notable() {
			l.client.opts.Warn(fmt.Sprintf("%s: %s did not work; going on with %s", l.repo, strings.Join(refused.tried, ", "), l.list[i].Name))
		}
		return err
	}
	return refused.error(len(l.list) == 1)
}

// order lists the candidates, beginning with the one that worked.
func (l *logins[T]) order() []int {
	last := int(l.last.Load())
	all := []int{last}
	for i := range l.list {
		if i != last {
			all = append(all, i)
		}
	}
	return all
}

func (l *logins[T]) try(ctx context.Context, i int, use func(T) error) error {
	way, err := l.ways.Do(ctx, l.client.ctx, i, func(ctx context.Context) (T, error) { return l.open(ctx, l.list[i].Auth) })
	if err != nil {
		return err
	}
	return use(way)
}

// refuses reports whether err says that other credentials may do what these could not.
func refuses(err error) bool {
	var (
		unavailable *credentials.UnavailableError
		answer      *transport.Error
	)
	switch {
	case err == nil:
		return false
	case errors.As(err, &unavailable):
		return true
	case errors.As(err, &answer) && isExpiredGrant(answer):
		return true
	}
	return classify(err) == Unauthorized
}

// isExpiredGrant reports whether a token server refuses an identity token (RFC 6749, section 5.2). No other request with
// a form is made.
func isExpiredGrant(e *transport.Error) bool {
	return e.StatusCode == http.StatusBadRequest && e.Request != nil && isTokenRequest(e.Request)
}

// answered reports whether err leaves no doubt that the registry took the credentials.
func answered(err error) bool {
	var answer *transport.Error
	return err == nil || errors.As(err, &answer) && classifyAnswer(answer) == NotFound
}

// refusal says that a registry took none of the credentials that there are.
type refusal struct {
	err   error    // what it said to the first one
	tried []string // their names, and why they could not be had
	quiet int      // how many of them simply are not there
}

func (r *refusal) add(name string, err error) {
	var unavailable *credentials.UnavailableError
	if errors.As(err, &unavailable) {
		name += " (" + unavailable.Error() + ")"
		if unavailable.Absent {
			r.quiet++
		}
	} else if r.err == nil {
		r.err = err
	}
	r.tried = append(r.tried, name)
}

func (r *refusal) notable() bool { return len(r.tried) > r.quiet }

// error is the refusal as an error. only says that there was nothing to log in with.
func (r *refusal) error(only bool) error {
	if r.err == nil {
		r.err = failure(Unauthorized, "there is nothing to log in with")
	}
	if only {
		return fmt.Errorf("%w; no credentials are known for it", r.err)
	}
	return r
}

// Error implements error.
func (r *refusal) Error() string {
	return fmt.Sprintf("%v; tried: %s", r.err, strings.Join(r.tried, ", "))
}

// Unwrap returns what the registry said.
func (r *refusal) Unwrap() error { return r.err }

// loginTransport sends requests without a body to a registry with the credentials that it takes.
type loginTransport struct{ *logins[http.RoundTripper] }

// RoundTrip implements http.RoundTripper.
func (t loginTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	var resp *http.Response
	err := t.do(req.Context(), func(rt http.RoundTripper) error {
		r, err := rt.RoundTrip(req.Clone(req.Context()))
		if err != nil {
			return err
		}
		// What a redirect led to has never seen the credentials.
		refused := r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden
		if !refused || req.URL.Host != t.repo.RegistryStr() {
			resp = r
			return nil
		}
		err = transport.CheckError(r)
		_ = r.Body.Close() // it held the error
		return err
	})
	return resp, err
}
