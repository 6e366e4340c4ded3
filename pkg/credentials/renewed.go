package credentials

import (
	"context"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// login is what a registry is told, and how long it holds.
type login struct {
	authn.AuthConfig
	expires time.Time // zero if nobody says it
}

const (
	// unknownLife is how long a login is kept that does not say how long it holds. Helpers' tokens hold for an hour
	// or more.
	unknownLife = 5 * time.Minute
	// failureLife is how long a failure is remembered: asking services that are not there takes seconds, and
	// every repository asks.
	failureLife = time.Minute
	// helperTimeout bounds one attempt to get a login.
	helperTimeout = 30 * time.Second
)

// renewed gets a login when it is needed, and again before it expires.
type renewed struct {
	get func(ctx context.Context) (login, error)

	mu    sync.Mutex
	login login
	err   error
	until time.Time // when to ask again
}

// Authorization implements authn.Authenticator.
func (r *renewed) Authorization() (*authn.AuthConfig, error) {
	return r.AuthorizationContext(context.Background())
}

// AuthorizationContext implements authn.ContextAuthenticator.
func (r *renewed) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.until) {
		c := r.login.AuthConfig
		return &c, r.err
	}
	limited, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	l, err := r.get(limited)
	if err = unavailable(ctx, err); err != nil && ctx.Err() != nil {
		return nil, err // says nothing about the next one who asks
	}
	if err == nil || r.err != nil || !now.Before(r.login.expires) { // else the one that we have still holds
		r.login, r.err = l, err
	}
	r.until = now.Add(life(l, err, now))
	c := r.login.AuthConfig
	return &c, r.err
}

// life is how long an answer is kept: a login for three quarters of its own life, so that it does not expire
// between being taken and arriving.
func life(l login, err error, now time.Time) time.Duration {
	switch {
	case err != nil:
		return failureLife
	case l.expires.IsZero():
		return unknownLife
	}
	return l.expires.Sub(now) * 3 / 4
}
