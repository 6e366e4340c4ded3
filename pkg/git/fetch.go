package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// errSHA256 is the answer to repositories that the library cannot read.
var errSHA256 = errors.New("repositories with SHA-256 as their hash are not supported, only those with SHA-1")

// server is a repository elsewhere. A depth of 0 stands for all history.
type server interface {
	receive(ctx context.Context, repo *repository, wants []plumbing.Hash, depth int, log io.Writer) error
	Close() error
}

// connect opens a session and reads what refs there are. The caller closes it.
func (c *Client) connect(ctx context.Context, r *remote) (server, *packp.AdvRefs, error) {
	s, web, err := c.session(r)
	if err != nil {
		return nil, nil, err
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		var data *packp.ErrUnexpectedData
		if errors.As(err, &data) && strings.Contains(string(data.Data), "object-format=sha256") {
			err = errSHA256
		}
		_ = s.Close() // it failed
		if web != nil && web.answersAsFiles() {
			return connectDumb(ctx, web.client, r.url)
		}
		return nil, nil, err
	}
	return &smartServer{UploadPackSession: s, refs: refs}, refs, nil
}

// smartServer runs git's own program, or one that talks like it.
type smartServer struct {
	transport.UploadPackSession
	refs *packp.AdvRefs
}

// fetch brings the object and what it needs into repo, without history if the server gives it so.
func (c *Client) fetch(ctx context.Context, r *remote, hash plumbing.Hash, repo *repository, log io.Writer) error {
	s, refs, err := c.connect(ctx, r)
	if err != nil {
		return err
	}
	if mayWant(refs, hash) && refs.Capabilities.Supports(capability.Shallow) {
		err = s.receive(ctx, repo, []plumbing.Hash{hash}, 1, log)
		err = errors.Join(err, s.Close())
		if err == nil {
			return repo.has(hash)
		}
		if ctx.Err() != nil || registry.Passing(err) {
			return err
		}
		// Some servers promise to give every commit and then do not.
		if s, refs, err = c.connect(ctx, r); err != nil {
			return err
		}
	}
	err = s.receive(ctx, repo, tips(refs), 0, log)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	return repo.has(hash)
}

// mayWant reports whether the server says that it gives this very object.
func mayWant(refs *packp.AdvRefs, hash plumbing.Hash) bool {
	if refs.Capabilities.Supports(capability.AllowReachableSHA1InWant) || refs.Capabilities.Supports(capability.AllowTipSHA1InWant) {
		return true
	}
	for _, h := range refs.References {
		if h == hash {
			return true
		}
	}
	return refs.Head != nil && *refs.Head == hash
}

// tips are all branches and tags.
func tips(refs *packp.AdvRefs) []plumbing.Hash {
	seen := map[plumbing.Hash]bool{}
	var all []plumbing.Hash
	for name, h := range refs.References {
		if (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) && !seen[h] {
			seen[h] = true
			all = append(all, h)
		}
	}
	return all
}

// receive fetches objects in one pack.
func (s *smartServer) receive(ctx context.Context, repo *repository, wants []plumbing.Hash, depth int, log io.Writer) (err error) {
	req := packp.NewUploadPackRequestFromCapabilities(s.refs.Capabilities)
	if depth > 0 {
		req.Depth = packp.DepthCommits(depth)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
	}
	if log == nil && s.refs.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	req.Wants = wants
	resp, err := s.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Close()) }()
	if depth > 0 {
		if err := repo.store.SetShallow(resp.Shallows); err != nil {
			return err
		}
	}
	return packfile.UpdateObjectStorage(repo.store, demultiplexed(req.Capabilities, resp, log))
}

// demultiplexed separates the pack from what the server says meanwhile.
func demultiplexed(caps *capability.List, r io.Reader, log io.Writer) io.Reader {
	kind := sideband.Sideband64k
	switch {
	case caps.Supports(capability.Sideband64k):
	case caps.Supports(capability.Sideband):
		kind = sideband.Sideband
	default:
		return r
	}
	d := sideband.NewDemuxer(kind, r)
	if log != nil {
		d.Progress = log
	}
	return d
}

// has makes sure that the object is there.
func (r *repository) has(hash plumbing.Hash) error {
	if err := r.store.HasEncodedObject(hash); err != nil {
		return fmt.Errorf("the repository has no commit %s", hash)
	}
	return nil
}

// sourceError says of which repository err is.
func sourceError(address string, err error) error {
	var known *op.SourceError
	if err == nil || errors.Is(err, context.Canceled) || errors.As(err, &known) {
		return err
	}
	passing := registry.Passing(err)
	// The library's own error types hide their causes from errors.Is.
	var unexpected *plumbing.UnexpectedError
	if errors.As(err, &unexpected) {
		var answer *githttp.Err
		if errors.As(unexpected.Err, &answer) {
			passing = registry.PassingStatus(answer.StatusCode())
		}
	}
	if errors.Is(err, transport.ErrAuthenticationRequired) || errors.Is(err, transport.ErrAuthorizationFailed) {
		err = fmt.Errorf("%w (credentials are given by the secrets GIT_AUTH_TOKEN or GIT_AUTH_HEADER, and for a context git://… by the variable GIT_TOKEN)", err)
	}
	return &op.SourceError{Source: op.RedactURL(address), Passing: passing, Err: err}
}
