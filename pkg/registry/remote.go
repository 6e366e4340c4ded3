package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// session reads from one repository. It is a source.
type session struct {
	repo  name.Repository
	retry Retry
	http  *http.Client
}

type sessionKey struct {
	repo   name.Repository
	access Access
}

// session returns the session with a repository. Nothing is contacted yet.
func (c *Client) session(ctx context.Context, repo name.Repository, access Access) (*session, error) {
	return c.sessions.Do(ctx, c.ctx, sessionKey{repo, access}, func(context.Context) (*session, error) {
		l := newLogins(c, repo, func(ctx context.Context, auth authn.Authenticator) (http.RoundTripper, error) {
			return c.authenticated(ctx, repo, access, auth)
		})
		client := &http.Client{Transport: loginTransport{l}, CheckRedirect: refuseInwardRedirect}
		return &session{repo: repo, retry: c.opts.Retry, http: client}, nil
	})
}

// do makes a request. What the registry said when it refused it, it says itself.
func (s *session) do(req *http.Request) (*http.Response, error) {
	resp, err := s.http.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) && refuses(failed.Err) {
		err = failed.Err
	}
	return resp, err
}

func (s *session) origin() name.Reference { return origin(s.repo) }

func (s *session) layerScope() string { return layerScope(s.repo) }

// origin is where blobs of a repository can be mounted from; only the repository of it matters.
func origin(repo name.Repository) name.Reference { return repo.Tag("latest") }

func layerScope(repo name.Repository) string { return repo.RegistryStr() }

// manifest implements source (OCI distribution spec, "Pulling manifests").
func (s *session) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	var raw []byte
	var mediaType string
	for attempt := 1; ; attempt++ {
		resp, err := s.get(ctx, s.url("manifests", id), http.Header{"Accept": {manifestTypes}})
		if err != nil {
			return v1.Descriptor{}, nil, err
		}
		mediaType = resp.Header.Get("Content-Type")
		raw, err = io.ReadAll(io.LimitReader(resp.Body, manifestLimit+1))
		_ = resp.Body.Close() // everything of it has been read or given up
		if err == nil {
			break
		}
		if attempt >= s.retry.Attempts || !passingError(err) {
			return v1.Descriptor{}, nil, fmt.Errorf("reading the manifest: %w", err)
		}
		if err := s.retry.wait(ctx, attempt); err != nil {
			return v1.Descriptor{}, nil, err
		}
	}
	if len(raw) > manifestLimit {
		return v1.Descriptor{}, nil, fmt.Errorf("the manifest has more than %d bytes", manifestLimit)
	}
	desc, err := checkManifest(id, mediaType, raw)
	return desc, raw, err
}

// manifestTypes is what we accept. Schema 1 is in it so that we can say what is wrong with such
// an image instead of that there is none.
const manifestTypes = string(types.OCIImageIndex) + ", " + string(types.OCIManifestSchema1) + ", " +
	string(types.DockerManifestList) + ", " + string(types.DockerManifestSchema2) + ", " +
	string(types.DockerManifestSchema1Signed) + ", " + string(types.DockerManifestSchema1)

// head asks what the repository has under a digest: its size and the digest that the registry
// states, each empty where it states none.
func (s *session) head(ctx context.Context, id string) (size int64, digest string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url("manifests", id), nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept", manifestTypes)
	resp, err := s.do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return 0, "", err
	}
	return resp.ContentLength, resp.Header.Get("Docker-Content-Digest"), nil
}

func (s *session) url(kind, id string) string {
	u := url.URL{Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(), Path: fmt.Sprintf("/v2/%s/%s/%s", s.repo.RepositoryStr(), kind, id)}
	return u.String()
}

// get makes a GET request and returns its successful response.
func (s *session) get(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := s.do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		_ = resp.Body.Close() // it held the error
		return nil, err
	}
	return resp, nil
}

// open implements source. A connection that breaks off while the blob is read is taken up
// again where it broke.
func (s *session) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	r := &resumer{s: s, ctx: ctx, desc: desc, urls: append([]string{s.url("blobs", desc.Digest.String())}, foreignURLs(desc)...)}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

// foreignURLs are the places outside the registry where a non-distributable layer lies.
func foreignURLs(desc v1.Descriptor) []string {
	if desc.MediaType.IsDistributable() {
		return nil
	}
	var urls []string
	for _, u := range desc.URLs {
		if strings.HasPrefix(u, "https://") {
			urls = append(urls, u)
		}
	}
	return urls
}

// resumer reads a blob and continues after a broken connection.
type resumer struct {
	s    *session
	ctx  context.Context
	desc v1.Descriptor
	urls []string

	body   io.ReadCloser
	offset int64
	fails  int // breaks since the last byte came
}

// connect opens the blob at the offset, at the first place that has it.
func (r *resumer) connect() error {
	var first error
	for _, u := range r.urls {
		body, err := r.connectTo(u)
		if err == nil {
			r.body = body
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (r *resumer) connectTo(url string) (io.ReadCloser, error) {
	header := http.Header{}
	if r.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
	}
	resp, err := r.s.get(r.ctx, url, header)
	if err != nil {
		return nil, err
	}
	if r.offset > 0 && resp.StatusCode != http.StatusPartialContent {
		// The registry knows no ranges: skip what we have.
		if _, err := io.CopyN(io.Discard, resp.Body, r.offset); err != nil {
			return nil, errors.Join(fmt.Errorf("reading again what came before the connection broke: %w", err), resp.Body.Close())
		}
	}
	return resp.Body, nil
}

// Read implements io.Reader.
func (r *resumer) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.offset += int64(n)
		if n > 0 {
			r.fails = 0
			return n, nil // whatever err is, it comes again
		}
		if err == nil || !r.broken(err) {
			return 0, err
		}
		if err := r.resume(err); err != nil {
			return 0, err
		}
	}
}

// broken reports whether err ended the blob early.
func (r *resumer) broken(err error) bool {
	if errors.Is(err, io.EOF) {
		return r.offset < r.desc.Size
	}
	return passingError(err)
}

// resume connects again, as often as it takes and is allowed.
func (r *resumer) resume(cause error) error {
	_ = r.body.Close() // it is broken already
	r.body = http.NoBody
	for {
		if r.fails++; r.fails >= r.s.retry.Attempts {
			return fmt.Errorf("blob %s: %w: %w", r.desc.Digest, &shortError{got: r.offset, want: r.desc.Size}, cause)
		}
		if err := r.s.retry.wait(r.ctx, r.fails); err != nil {
			return err
		}
		if cause = r.connect(); cause == nil || !passingError(cause) {
			return cause
		}
	}
}

// Close implements io.Closer.
func (r *resumer) Close() error { return r.body.Close() }
