package git

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing/transport"
	gitproto "github.com/go-git/go-git/v5/plumbing/transport/git"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/slipway-build/slipway/pkg/op"
)

// remote is a place that a repository is fetched from, with what opens it.
type remote struct {
	url string
	git *op.Git // whose credentials and host keys count
	// authorization is the value of a header for the server at url; "" for none.
	authorization string
	// scope is what URLs begin with that it may go along to.
	scope string
	// unverified is the host whose certificate is not checked; "" for none.
	unverified string
}

// remote finds the credentials for g.
func (c *Client) remote(ctx context.Context, g *op.Git) (*remote, error) {
	special, isSpecial := c.opts.Special[g.URL]
	r := &remote{url: g.URL, git: g}
	if isSpecial {
		r.url = special.URL
	}
	r.scope = scope(r.url)
	ep, err := r.endpoint()
	if err != nil {
		return nil, err
	}
	if ep.Protocol != "http" && ep.Protocol != "https" {
		return r, nil
	}
	if r.authorization, err = c.authorization(ctx, g); err != nil {
		return nil, err
	}
	if !isSpecial {
		return r, nil
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return nil, err
	}
	if special.SkipTLSVerify {
		r.unverified = u.Host
	}
	if r.authorization == "" {
		r.authorization, r.scope = special.Authorization, u.Scheme+"://"+u.Host+"/"
	}
	return r, nil
}

// sub is the remote of a submodule. Credentials go along only to what lies below the URL that they are
// for, and among the repositories of github.com, as in BuildKit; or where it is special.
func (r *remote) sub(address string) *remote {
	s := &remote{url: address, git: r.git, scope: r.scope, unverified: r.unverified}
	if within(r.scope, address) {
		s.authorization = r.authorization
	}
	return s
}

func scope(address string) string {
	for _, prefix := range []string{"https://github.com/", "https://www.github.com/"} {
		if strings.HasPrefix(address, prefix) {
			return prefix
		}
	}
	return strings.TrimSuffix(address, "/") + "/"
}

func within(scope, address string) bool { return strings.HasPrefix(address+"/", scope) }

func (r *remote) endpoint() (*transport.Endpoint, error) {
	ep, err := transport.NewEndpoint(r.url)
	if err != nil {
		return nil, fmt.Errorf("address of a git repository: %w", err)
	}
	switch ep.Protocol {
	case "http", "https", "ssh", "git":
		return ep, nil
	}
	return nil, fmt.Errorf("git repositories are not read over %q, only over https, http, ssh and git", ep.Protocol)
}

// session connects to the remote; web is there if that is a web server.
func (c *Client) session(r *remote) (s transport.UploadPackSession, web *webServer, err error) {
	ep, err := r.endpoint()
	if err != nil {
		return nil, nil, err
	}
	switch ep.Protocol {
	case "ssh":
		auth, err := c.sshAuth(r, ep)
		if err != nil {
			return nil, nil, err
		}
		s, err = gitssh.NewClient(nil).NewUploadPackSession(ep, auth)
		return s, nil, err
	case "git":
		s, err = gitproto.DefaultClient.NewUploadPackSession(ep, nil)
		return s, nil, err
	}
	if web, err = c.webServer(r); err != nil {
		return nil, nil, err
	}
	s, err = githttp.NewClient(web.client).NewUploadPackSession(ep, nil)
	return s, web, err
}

// webServer is the connection to one, with what it lets know about itself.
type webServer struct {
	client *http.Client
	answer *answer
}

func (c *Client) webServer(r *remote) (*webServer, error) {
	client := c.opts.Registry.HTTPClient()
	u, err := url.Parse(r.url)
	if err != nil {
		return nil, err
	}
	if r.unverified != "" {
		client.Transport = &trusting{inner: client.Transport, host: r.unverified, trusted: c.opts.Registry.UnverifiedTransport()}
	}
	if r.authorization != "" {
		client.Transport = &authorized{inner: client.Transport, scheme: u.Scheme, host: u.Host, value: r.authorization}
	}
	a := &answer{inner: client.Transport}
	client.Transport = a
	return &webServer{client: client, answer: a}, nil
}

// answersAsFiles reports whether the server gave the file with the refs when it was asked for a
// service: it does not know git, and the repository is files like all others to it.
func (w *webServer) answersAsFiles() bool { return w.answer.file.Load() }

// answer notes what the server answers to the request for a service.
type answer struct {
	inner http.RoundTripper
	file  atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (a *answer) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := a.inner.RoundTrip(req)
	if err == nil && res.StatusCode == http.StatusOK && req.URL.Query().Get("service") != "" {
		a.file.Store(!strings.HasPrefix(res.Header.Get("Content-Type"), "application/x-git-"))
	}
	return res, err
}

// trusting does without the certificate of one host.
type trusting struct {
	inner, trusted http.RoundTripper
	host           string
}

// RoundTrip implements http.RoundTripper.
func (t *trusting) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == t.host {
		return t.trusted.RoundTrip(req)
	}
	return t.inner.RoundTrip(req)
}

// authorized gives credentials to one host and to no other, wherever it redirects to.
type authorized struct {
	inner               http.RoundTripper
	scheme, host, value string
}

// RoundTrip implements http.RoundTripper.
func (a *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == a.scheme && req.URL.Host == a.host {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", a.value)
	}
	return a.inner.RoundTrip(req)
}

// authorization is the value of the Authorization header that the secrets give, "" for none.
func (c *Client) authorization(ctx context.Context, g *op.Git) (string, error) {
	u, err := url.Parse(g.URL)
	if err != nil {
		return "", err
	}
	for _, suffix := range []string{"." + u.Host, ""} {
		for _, kind := range []struct {
			id    string
			token bool
		}{{g.AuthHeaderSecret, false}, {g.AuthTokenSecret, true}} {
			if kind.id == "" {
				continue
			}
			value, err := c.opts.Secrets.Secret(ctx, kind.id+suffix)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", fmt.Errorf("credentials: %w", err)
			}
			if kind.token {
				return "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+string(value))), nil
			}
			return string(value), nil
		}
	}
	return "", nil
}

// sshAuth answers to the server with the keys of an agent, once the server's own key is known.
func (c *Client) sshAuth(r *remote, ep *transport.Endpoint) (transport.AuthMethod, error) {
	if r.git.KnownHosts == "" {
		return nil, fmt.Errorf("the ssh host key of %s is not known, and could not be asked for", ep.Host)
	}
	known, err := c.knownHosts(r.git.KnownHosts)
	if err != nil {
		return nil, err
	}
	socket, ok := c.opts.Agents[r.git.Agent]
	if !ok {
		return nil, fmt.Errorf("there is no ssh agent %q: add --ssh %s", r.git.Agent, r.git.Agent)
	}
	user := ep.User
	if user == "" {
		user = "git"
	}
	port := ep.Port
	if port == 0 {
		port = gitssh.DefaultPort
	}
	auth := &gitssh.PublicKeysCallback{User: user, Callback: func() ([]ssh.Signer, error) {
		// The connection lives as long as the signers, which the handshake needs.
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return nil, fmt.Errorf("ssh agent %q: %w", r.git.Agent, err)
		}
		return agent.NewClient(conn).Signers()
	}}
	auth.HostKeyCallback = known.HostKeyCallback()
	auth.HostKeyAlgorithms = known.HostKeyAlgorithms(net.JoinHostPort(strings.Trim(ep.Host, "[]"), fmt.Sprint(port)))
	return auth, nil
}

// knownHosts reads the text of a known_hosts file, which the library only does from a file.
func (c *Client) knownHosts(text string) (_ *knownhosts.HostKeyDB, err error) {
	f, err := c.opts.State.TempFile()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.WriteString(text); err != nil {
		return nil, err
	}
	return knownhosts.NewDB(f.Name())
}
