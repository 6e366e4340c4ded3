package registry

import (
	"bytes"
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
	repo   name.Repository
	retry  Retry
	http   *http.Client
	logins *logins[http.RoundTripper]
}

type sessionKey struct {
	repo   name.Repository
	access Access
	retry  Retry
}

// session returns the session with a repository. Nothing is contacted yet.
func (c *Client) session(ctx context.Context, repo name.Repository, access Access) (*session, error) {
	return c.sessionWith(ctx, sessionKey{repo, access, c.opts.Retry.forAccess(access)})
}

func (c *Client) sessionWith(ctx context.Context, key sessionKey) (*session, error) {
	return c.sessions.Do(ctx, c.ctx, key, func(context.Context) (*session, error) {
		l := newLogins(c, key.repo, func(ctx context.Context, auth authn.Authenticator) (http.RoundTripper, error) {
			return c.authenticated(ctx, key, auth, transport.PullScope)
		})
		client := &http.Client{Transport: loginTransport{l}, CheckRedirect: refuseInwardRedirect}
		return &session{repo: key.repo, retry: key.retry, http: client, logins: l}, nil
	})
}

// do makes a request. What the registry said when it refused it, it says itself, and of several requests that one
// took, the one that failed is named.
func (s *session) do(req *http.Request) (*http.Response, error) {
	resp, err := s.http.Do(req)
	var failed, inner *url.Error
	switch {
	case !errors.As(err, &failed):
	case refuses(failed.Err):
		err = failed.Err
	case errors.As(failed.Err, &inner): // the login
		err = inner
	}
	return resp, err
}

func (s *session) origin() name.Reference { return origin(s.repo) }

func (s *session) layerScope() string { return layerScope(s.repo) }

// repositories implements located.
func (s *session) repositories() []name.Repository { return []name.Repository{s.repo} }

// origin is where blobs of a repository can be mounted from; only the repository of it matters.
func origin(repo name.Repository) name.Reference { return repo.Tag("latest") }

func layerScope(repo name.Repository) string { return repo.RegistryStr() }

// manifest implements source (OCI distribution spec, "Pulling manifests"). One that arrives damaged is read again: what was
// asked for by digest has it, and of what was asked for by tag the registry says it. It may say so wrongly, of what it converts, so
// what comes twice is right.
func (s *session) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	var desc v1.Descriptor
	var before []byte
	for attempt := 1; ; attempt++ {
		answer, err := s.readManifest(ctx, id)
		if err != nil {
			return v1.Descriptor{}, nil, err
		}
		desc, err = checkManifest(id, answer.mediaType, answer.raw)
		doubtful := err == nil && answer.digest != "" && answer.digest != desc.Digest.String() && !bytes.Equal(answer.raw, before)
		if attempt >= fetches || err == nil && !doubtful || bytes.Equal(answer.raw, before) {
			return desc, answer.raw, err
		}
		before = answer.raw
	}
}

// manifestAnswer is a manifest as it came, and what the registry says of it.
type manifestAnswer struct {
	raw               []byte
	mediaType, digest string
}

func (s *session) readManifest(ctx context.Context, id string) (*manifestAnswer, error) {
	var raw []byte
	for attempt := 1; ; attempt++ {
		resp, err := s.get(ctx, s.url("manifests", id), http.Header{"Accept": {manifestTypes}})
		if err != nil {
			return nil, err
		}
		raw, err = io.ReadAll(io.LimitReader(resp.Body, manifestLimit+1))
		_ = resp.Body.Close() // everything of it has been read or given up
		if len(raw) > manifestLimit {
			return nil, fmt.Errorf("the manifest has more than %d bytes", manifestLimit)
		}
		if err == nil {
			return &manifestAnswer{raw, resp.Header.Get("Content-Type"), resp.Header.Get("Docker-Content-Digest")}, nil
		}
		if attempt >= s.retry.Attempts || !passingError(err) {
			return nil, fmt.Errorf("reading the manifest: %w", err)
		}
		if err := s.retry.wait(ctx, attempt); err != nil {
			return nil, err
		}
	}
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
		return 0, "", s.limited(resp, err)
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
		return nil, s.limited(resp, err)
	}
	return resp, nil
}

// open implements source. A connection that breaks off while the blob is read is taken up
// again where it broke.
func (s *session) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return resume(ctx, desc, s.places(desc))
}

// blobPlace is one place where a blob lies.
type blobPlace struct {
	s      *session
	url    string
	failed func(error) // nil, or told why the blob could not be had there
}

// places are those that the repository knows of.
func (s *session) places(desc v1.Descriptor) []blobPlace {
	places := []blobPlace{{s: s, url: s.url("blobs", desc.Digest.String())}}
	for _, u := range foreignURLs(desc) {
		places = append(places, blobPlace{s: s, url: u})
	}
	return places
}

// resume opens a blob that lies in any of the places. Whichever of them breaks off, another may go on: the digest tells.
func resume(ctx context.Context, desc v1.Descriptor, places []blobPlace) (io.ReadCloser, error) {
	r := &resumer{ctx: ctx, desc: desc, places: places, retry: places[len(places)-1].s.retry}
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
	ctx    context.Context
	desc   v1.Descriptor
	places []blobPlace
	retry  Retry

	body   io.ReadCloser
	offset int64
	fails  int // breaks since the last byte came
}

// connect opens the blob at the offset, at the first place that has it. Where none has, the error is what the last
// repository said.
func (r *resumer) connect() error {
	var first error
	var of *session
	for _, p := range r.places {
		body, err := r.connectTo(p.s, p.url)
		if err == nil {
			r.body = body
			return nil
		}
		if r.ctx.Err() != nil {
			return err
		}
		if p.failed != nil {
			p.failed(err)
		}
		if p.s != of {
			first, of = err, p.s
		}
	}
	return first
}

func (r *resumer) connectTo(s *session, url string) (io.ReadCloser, error) {
	header := http.Header{}
	if r.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
	}
	resp, err := s.get(r.ctx, url, header)
	var answer *transport.Error
	if r.offset > 0 && errors.As(err, &answer) && (answer.StatusCode == http.StatusRequestedRangeNotSatisfiable || answer.StatusCode == http.StatusNotImplemented) {
		resp, err = s.get(r.ctx, url, nil)
	}
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
		if r.fails++; r.fails >= r.retry.Attempts {
			return fmt.Errorf("blob %s: %w: %w", r.desc.Digest, &shortError{got: r.offset, want: r.desc.Size}, cause)
		}
		if err := r.retry.wait(r.ctx, r.fails); err != nil {
			return err
		}
		if cause = r.connect(); cause == nil || !passingError(cause) {
			return cause
		}
	}
}

// Close implements io.Closer.
func (r *resumer) Close() error { return r.body.Close() }
