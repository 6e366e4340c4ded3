// Package registry reads base images, from registries and from local layouts and archives,
// and holds the connections over which images are pushed.
//
// Images are lazy: resolving one fetches its manifest and config, and each layer's blob is
// fetched when somebody reads it, once.
package registry

import (
	"context"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/memo"
)

// Client is all of a build's traffic with registries. What it resolved once stays resolved: a
// tag that moves while a build runs does not split the build. It is safe for concurrent use.
type Client struct {
	// ctx bounds what outlives the call that asked for it: lazy layers, and lookups
	// that several callers wait for.
	ctx  context.Context
	opts Options

	hosts  *hostTransports
	pauses sync.Map // see retryTransport
	warm   *warmDir // nil for none

	mirrors map[string][]mirror // by registry
	mirrorState

	pushers sync.Map // *logins[*remote.Pusher] by name.Repository
	loans   sync.Map // *logins[*loan] by lendKey

	sessions memo.Memo[sessionKey, *session]
	layouts  memo.Memo[string, source]
	named    memo.Memo[namedKey, *named]
	images   memo.Memo[imageKey, *Image]
	layers   memo.Memo[layerKey, layer.Layer]

	manifests memo.Memo[manifestKey, storedManifest] // see Open
}

// New returns the client of one build, which ends with ctx. Nothing is contacted yet.
func New(ctx context.Context, o Options) (_ *Client, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Retry = o.Retry.withDefaults()
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Hosts, err = normalizeHosts(o.Hosts); err != nil {
		return nil, err
	}
	c := &Client{ctx: ctx, opts: o, hosts: newHostTransports(o.Hosts, o.CAFiles)}
	if c.mirrors, err = parseMirrors(o.Mirrors); err != nil {
		return nil, err
	}
	if o.WarmDir != "" {
		c.warm = openWarmDir(o.WarmDir, o.Warn)
	}
	return c, nil
}

// ParseReference parses an image reference as Docker understands it. Where the client may use
// plain HTTP for pulling, so may the reference.
func (c *Client) ParseReference(ref string) (name.Reference, error) {
	return c.parse(ref, c.opts.Pull)
}

// ParseDestination is ParseReference for pushing.
func (c *Client) ParseDestination(ref string) (name.Reference, error) {
	return c.parse(ref, c.opts.Push)
}

func (c *Client) parse(ref string, access Access) (name.Reference, error) {
	// "repo:tag@digest" is parsed without its tag, which says nothing that the
	// digest does not.
	r, err := name.ParseReference(ref)
	if err == nil && c.plainHTTP(r.Context().RegistryStr(), access) {
		r, err = name.ParseReference(ref, name.Insecure)
	}
	if err != nil {
		return nil, &Error{Op: "parsing image reference", Ref: ref, Kind: Invalid, Err: err}
	}
	return r, nil
}

// plainHTTP reports whether a registry may be spoken to without TLS.
func (c *Client) plainHTTP(host string, access Access) bool {
	return access.PlainHTTP || c.opts.Hosts[host].PlainHTTP
}

// normalizeHosts names registries as requests to them do: Docker Hub's is not "docker.io".
func normalizeHosts(hosts map[string]Host) (map[string]Host, error) {
	out := make(map[string]Host, len(hosts))
	for host, h := range hosts {
		r, err := name.NewRegistry(host)
		if err != nil {
			return nil, &Error{Op: "parsing registry", Ref: host, Kind: Invalid, Err: err}
		}
		out[r.RegistryStr()] = h
	}
	return out, nil
}

// roundTripper is the way to all registries, without credentials.
func (c *Client) roundTripper(access Access, retry Retry) http.RoundTripper {
	return &retryTransport{
		inner:  c.hosts.roundTripper(access.SkipTLSVerify),
		retry:  retry,
		warn:   c.opts.Warn,
		pauses: &c.pauses,
	}
}

// authenticated is the way to one repository, with one of its credentials, for a scope of transport's.
func (c *Client) authenticated(ctx context.Context, key sessionKey, auth authn.Authenticator, scope string) (http.RoundTripper, error) {
	rt := transport.NewUserAgent(guarded{c.roundTripper(key.access, key.retry)}, c.opts.UserAgent)
	return transport.NewWithContext(ctx, key.repo.Registry, auth, rt, []string{key.repo.Scope(scope)})
}
