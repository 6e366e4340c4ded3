package registry

import (
	"context"
	"net/http"
)

// HTTPClient is the way to hosts that are no registries, for downloads of other kinds: with the same
// certificates, retries, pauses and rules for redirects, and without the credentials for
// registries. An Authorization header that a request has does not follow a redirect to another host.
func (c *Client) HTTPClient() *http.Client {
	return &http.Client{
		Transport: c.roundTripper(c.opts.Pull, c.opts.Retry.forAccess(c.opts.Pull)),
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if err := refuseInwardRedirect(req, via); err != nil {
				return err
			}
			if leaves(via[0], append(via[1:len(via):len(via)], req)) {
				req.Header.Del("Authorization")
				req.Header.Del("Cookie")
			}
			return nil
		},
	}
}

// UnverifiedTransport is the transport of HTTPClient with nobody's certificate checked.
func (c *Client) UnverifiedTransport() http.RoundTripper {
	return c.roundTripper(Access{SkipTLSVerify: true}, c.opts.Retry.forAccess(c.opts.Pull))
}

// leaves reports whether any of the requests that followed the first one went to another host or
// port, or gave encryption up. What comes back from there is no longer the first host's own choice.
func leaves(first *http.Request, followed []*http.Request) bool {
	for _, r := range followed {
		if r.URL.Host != first.URL.Host || first.URL.Scheme == "https" && r.URL.Scheme != "https" {
			return true
		}
	}
	return false
}

// Repeat calls do until it succeeds, fails for a reason that will not pass, or has had all attempts.
// Requests are repeated without it; it is for what happens after the response's header has come.
func (c *Client) Repeat(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt >= c.opts.Retry.Attempts || !Passing(err) {
			return err
		}
		if err := c.opts.Retry.wait(ctx, attempt); err != nil {
			return err
		}
	}
}

// Passing reports whether a network error may be gone at the next attempt.
func Passing(err error) bool { return passingError(err) }

// PassingStatus reports whether an HTTP status means a failure that may pass.
func PassingStatus(code int) bool { return passingStatus(code) }
