package git

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/slipway-build/slipway/pkg/op"
)

// sha1Size and sha256Size are the lengths of hashes in hexadecimal digits.
const (
	sha1Size   = 40
	sha256Size = 64
)

func isHex(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f') && (r < 'A' || r > 'F')
	})
}

// Commit implements op.Repositories.
func (c *Client) Commit(ctx context.Context, g *op.Git) (*op.Commit, error) {
	// One at a time, so that a ref is the same commit wherever it is used in the build.
	key := fmt.Sprintf("%q %q %q %t", g.URL, g.Ref, g.Checksum, g.ByCommit)
	unlock, err := c.opts.State.Lock(ctx, "git-ref-"+digest(key))
	if err != nil {
		return nil, err
	}
	defer unlock()
	c.mu.Lock()
	found := c.found[key]
	c.mu.Unlock()
	if found != nil {
		return found, nil
	}
	if found, err = c.lookUp(ctx, g); err != nil {
		return nil, sourceError(g.URL, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found[key] = found
	return found, nil
}

func (c *Client) lookUp(ctx context.Context, g *op.Git) (*op.Commit, error) {
	if !isHex(g.Checksum) {
		return nil, fmt.Errorf("invalid checksum %q: expected hex commit hash", g.Checksum)
	}
	if len(g.Checksum) == sha256Size || len(g.Ref) == sha256Size && isHex(g.Ref) {
		return nil, errSHA256
	}
	if strings.HasPrefix(g.Ref, "-") {
		return nil, fmt.Errorf("%q is not a ref", g.Ref)
	}
	found, err := c.lookUpRef(ctx, g)
	if err != nil {
		return nil, err
	}
	want := strings.ToLower(g.Checksum)
	if !strings.HasPrefix(found.Hash, want) && !strings.HasPrefix(found.Peeled, want) {
		got := found.Hash
		if found.Peeled != "" {
			got += " (of the commit " + found.Peeled + ")"
		}
		return nil, fmt.Errorf("%s has the hash %s, expected checksum to match %s", found.Ref, got, g.Checksum)
	}
	return found, nil
}

func (c *Client) lookUpRef(ctx context.Context, g *op.Git) (*op.Commit, error) {
	if isHash(g.Ref) {
		return &op.Commit{Hash: strings.ToLower(g.Ref), Ref: g.Ref}, nil
	}
	if g.ByCommit {
		if !isHash(g.Checksum) {
			return nil, fmt.Errorf("a commit that is fetched by its checksum needs all of it, not %q", g.Checksum)
		}
		ref := g.Ref
		switch {
		case ref == "":
			ref = g.Checksum
		case !strings.HasPrefix(ref, "refs/"):
			ref = "refs/heads/" + ref
		}
		return &op.Commit{Hash: strings.ToLower(g.Checksum), Ref: ref}, nil
	}
	r, err := c.remote(ctx, g)
	if err != nil {
		return nil, err
	}
	s, refs, err := c.connect(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	if found := choose(refs, g.Ref); found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("the repository does not contain ref %q: no branch or tag is called so", g.Ref)
}

func isHash(s string) bool { return len(s) == sha1Size && isHex(s) }

// choose finds what a short name means: what has it behind "refs/", else a branch, else a tag. It
// is nil if there is none.
func choose(refs *packp.AdvRefs, name string) *op.Commit {
	if name == "" || name == "HEAD" {
		if refs.Head == nil {
			return nil
		}
		return &op.Commit{Hash: refs.Head.String(), Ref: headRef(refs)}
	}
	for _, full := range []string{
		"refs/" + strings.TrimPrefix(name, "refs/"),
		"refs/heads/" + strings.TrimPrefix(name, "refs/heads/"),
		"refs/tags/" + strings.TrimPrefix(name, "refs/tags/"),
	} {
		hash, ok := refs.References[full]
		if !ok {
			continue
		}
		found := &op.Commit{Hash: hash.String(), Ref: full}
		if peeled, ok := refs.Peeled[full]; ok && peeled != hash {
			found.Peeled = peeled.String()
		}
		return found
	}
	return nil
}

// headRef is the branch that HEAD is, or "HEAD" where the server does not say.
func headRef(refs *packp.AdvRefs) string {
	for _, symref := range refs.Capabilities.Get(capability.SymRef) {
		if target, ok := strings.CutPrefix(symref, "HEAD:"); ok {
			return target
		}
	}
	return plumbing.HEAD.String()
}
