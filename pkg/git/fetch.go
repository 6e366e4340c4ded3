package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// connect opens a session and reads what refs there are. The caller closes it.
func (c *Client) connect(ctx context.Context, r *remote) (transport.UploadPackSession, *packp.AdvRefs, error) {
	s, err := c.session(r)
	if err != nil {
		return nil, nil, err
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		var data *packp.ErrUnexpectedData
		if errors.As(err, &data) && strings.Contains(string(data.Data), "object-format=sha256") {
			err = errors.New("repositories with SHA-256 as their hash are not supported, only those with SHA-1")
		}
		_ = s.Close() // it failed
		return nil, nil, err
	}
	return s, refs, nil
}

// fetch brings the object and what it needs into repo, without history if the server gives it so.
func (c *Client) fetch(ctx context.Context, r *remote, hash plumbing.Hash, repo *repository, log io.Writer) error {
	s, refs, err := c.connect(ctx, r)
	if err != nil {
		return err
	}
	if mayWant(refs, hash) && refs.Capabilities.Supports(capability.Shallow) {
		err = receive(ctx, s, refs, repo, []plumbing.Hash{hash}, 1, log)
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
	err = receive(ctx, s, refs, repo, tips(refs), 0, log)
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

// receive fetches objects in one pack. A depth of 0 stands for all history.
func receive(ctx context.Context, s transport.UploadPackSession, refs *packp.AdvRefs, repo *repository, wants []plumbing.Hash, depth int, log io.Writer) (err error) {
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	if depth > 0 {
		req.Depth = packp.DepthCommits(depth)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
	}
	if log == nil && refs.Capabilities.Supports(capability.NoProgress) {
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

// findAbbreviated fetches everything to find the only commit or tag whose hash begins with prefix.
func (c *Client) findAbbreviated(ctx context.Context, r *remote, prefix string) (_ plumbing.Hash, err error) {
	dir, err := c.opts.State.TempDir("git-")
	if err != nil {
		return plumbing.ZeroHash, err
	}
	repo := openRepository(dir)
	s, refs, err := c.connect(ctx, r)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	err = receive(ctx, s, refs, repo, tips(refs), 0, nil)
	if err = errors.Join(err, s.Close()); err != nil {
		return plumbing.ZeroHash, err
	}
	var found []plumbing.Hash
	commits, err := repo.store.IterEncodedObjects(plumbing.CommitObject)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	err = object.NewCommitIter(repo.store, commits).ForEach(func(o *object.Commit) error {
		if strings.HasPrefix(o.Hash.String(), prefix) {
			found = append(found, o.Hash)
		}
		return nil
	})
	switch {
	case err != nil:
		return plumbing.ZeroHash, err
	case len(found) == 0:
		return plumbing.ZeroHash, fmt.Errorf("the repository has no branch or tag %s, and no commit that begins so", prefix)
	case len(found) > 1:
		return plumbing.ZeroHash, fmt.Errorf("%d commits begin with %s", len(found), prefix)
	}
	return found[0], nil
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
		err = fmt.Errorf("%w (credentials are given by the secrets GIT_AUTH_TOKEN or GIT_AUTH_HEADER)", err)
	}
	return &op.SourceError{Source: op.RedactURL(address), Passing: passing, Err: err}
}
