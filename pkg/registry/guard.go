package registry

import (
	"fmt"
	"net/http"
)

// guarded keeps redirects from leading credentials away. Those in headers are given to nobody but the registry, and to
// the token server that it names, by the library; there are two more ways:
//
//   - A token server's redirect repeats the form with the identity token at another host.
//   - A redirect of the registry's first answer to plain HTTP makes the library speak that from then on.
type guarded struct{ inner http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Response != nil && req.Response.Request != nil { // a redirect
		from := req.Response.Request.URL
		switch {
		case isTokenRequest(req) && leaves(req.Response.Request, []*http.Request{req}):
			return nil, fmt.Errorf("the token server %s redirects to %s, which is not shown the identity token", from.Host, req.URL.Host)
		case from.Path == "/v2/" && from.Scheme == "https" && req.URL.Scheme != "https":
			return nil, fmt.Errorf("%s redirects from HTTPS to plain HTTP: refused", from.Host)
		}
	}
	return g.inner.RoundTrip(req)
}

// isTokenRequest reports whether a request exchanges an identity token for one that the registry takes.
func isTokenRequest(req *http.Request) bool {
	return req.Method == http.MethodPost && req.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
}
