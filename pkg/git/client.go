// Package git reads commits of git repositories as layers. It speaks git's protocols itself and needs
// no git program: a commit is fetched without its history where the server allows that, kept in the
// state directory, and its files are read straight out of the object store.
package git

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
)

// kindCommits are the objects of the state directory that hold a commit with its files, as bare
// repositories.
const kindCommits = "git"

// Options configure a [Client].
type Options struct {
	// Registry lends its connections and its patience.
	Registry *registry.Client
	Secrets  op.Secrets
	// Agents gives the socket of each ssh agent by its id.
	Agents map[string]string
	State  *state.Dir
	// Special are repositories that are reached in another way than graphs say, by the URLs that graphs have.
	Special map[string]Special
}

// Special is how a repository is reached.
type Special struct {
	URL string
	// Authorization is the value of that header for all repositories at the URL's host that this one leads to, if no
	// secret gives one; "" for none.
	Authorization string
	// SkipTLSVerify accepts any certificate of the URL's host.
	SkipTLSVerify bool
}

// Client is all of a build's traffic with git repositories. It implements op.Repositories.
type Client struct {
	opts Options

	mu    sync.Mutex
	found map[string]*op.Commit // what refs were found to be, by refKey
}

var _ op.Repositories = (*Client)(nil)

// New returns the client of one build.
func New(o Options) *Client { return &Client{opts: o, found: map[string]*op.Commit{}} }

// repository is an object store that has one commit, and perhaps more.
type repository struct {
	store *filesystem.Storage
}

func openRepository(path string) *repository {
	return &repository{filesystem.NewStorage(osfs.New(path), cache.NewObjectLRU(8<<20))}
}

// repository gives the object store that has the given object, which is fetched if it is not there.
// Objects that a server holds back are not shared between URLs.
func (c *Client) repository(ctx context.Context, r *remote, hash plumbing.Hash, log io.Writer) (*repository, error) {
	name := fmt.Sprintf("%s-%x", hash, sha256.Sum256([]byte(op.RedactURL(r.url))))
	path, err := c.opts.State.Tree(ctx, kindCommits, name, func(ctx context.Context, dir string) error {
		return c.fetch(ctx, r, hash, openRepository(dir), log)
	})
	if err != nil {
		return nil, err
	}
	return openRepository(path), nil
}

// commit reads the commit that hash is, or that the tag of this hash is about.
func (r *repository) commit(hash plumbing.Hash) (*object.Commit, *object.Tag, error) {
	tag, err := object.GetTag(r.store, hash)
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound):
		commit, err := object.GetCommit(r.store, hash)
		if err != nil {
			return nil, nil, fmt.Errorf("commit %s: %w", hash, err)
		}
		return commit, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("tag %s: %w", hash, err)
	}
	for inner := tag; ; {
		if inner.TargetType == plumbing.CommitObject {
			commit, err := object.GetCommit(r.store, inner.Target)
			if err != nil {
				return nil, nil, fmt.Errorf("commit of the tag %s: %w", tag.Name, err)
			}
			return commit, tag, nil
		}
		if inner.TargetType != plumbing.TagObject {
			return nil, nil, fmt.Errorf("the tag %s is about a %s, not a commit", tag.Name, inner.TargetType)
		}
		if inner, err = object.GetTag(r.store, inner.Target); err != nil {
			return nil, nil, fmt.Errorf("tag %s: %w", tag.Name, err)
		}
	}
}

// raw reads an object as it is.
func (r *repository) raw(hash plumbing.Hash) (_ []byte, err error) {
	o, err := r.store.EncodedObject(plumbing.AnyObject, hash)
	if err != nil {
		return nil, err
	}
	rc, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	return io.ReadAll(rc)
}

// Objects implements op.Repositories.
func (c *Client) Objects(ctx context.Context, g *op.Git) (*op.CommitObjects, error) {
	repo, _, commit, tag, err := c.open(ctx, g, nil)
	if err != nil {
		return nil, err
	}
	out := &op.CommitObjects{}
	if out.Commit, err = repo.raw(commit.Hash); err != nil {
		return nil, err
	}
	if tag != nil {
		if out.Tag, err = repo.raw(tag.Hash); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// open fetches what g means.
func (c *Client) open(ctx context.Context, g *op.Git, log io.Writer) (*repository, *op.Commit, *object.Commit, *object.Tag, error) {
	fail := func(err error) (*repository, *op.Commit, *object.Commit, *object.Tag, error) {
		return nil, nil, nil, nil, sourceError(g.URL, err)
	}
	found, err := c.Commit(ctx, g)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	r, err := c.remote(ctx, g)
	if err != nil {
		return fail(err)
	}
	repo, err := c.repository(ctx, r, plumbing.NewHash(found.Hash), log)
	if err != nil {
		return fail(err)
	}
	commit, tag, err := repo.commit(plumbing.NewHash(found.Hash))
	if err != nil {
		return fail(err)
	}
	return repo, found, commit, tag, nil
}
