package op

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Git is what a commit of a git repository has: ADD of a repository, or a context that is one.
type Git struct {
	// URL is where the repository is, in a form that git takes: "https://host/path", "ssh://…" or
	// "git@host:path". It may have credentials.
	URL string
	// Ref is a branch, a tag, a commit, or their full form ("refs/tags/v1"); "" for what the
	// repository's HEAD is.
	Ref string
	// Subdir is the directory that is wanted; "" for all of it.
	Subdir string
	// Checksum is the hash, or its beginning, that the commit or annotated tag must
	// have; "" for any.
	Checksum string
	// ByCommit takes the commit of Checksum, whatever Ref points to.
	ByCommit       bool
	KeepGitDir     bool // with .git
	SkipSubmodules bool
	// CommitTime makes the files as old as the commit instead of as old as the build.
	CommitTime bool

	// AuthTokenSecret and AuthHeaderSecret name the secrets with credentials for HTTP; those whose
	// name has "." and the host behind it come first.
	AuthTokenSecret, AuthHeaderSecret string
	// KnownHosts are the host keys for ssh, in the form of a known_hosts file.
	KnownHosts string
	// Agent is the id of the ssh agent.
	Agent string
}

// Commit is what a ref stands for.
type Commit struct {
	// Hash is what the ref points to: a commit or an annotated tag.
	Hash string
	// Peeled is the commit that an annotated tag is about, "" if it is none or not known
	// yet.
	Peeled string
	// Ref is the ref in full, or the hash that was asked for.
	Ref string
}

// CommitObjects are git's objects in their own format.
type CommitObjects struct {
	Commit []byte
	Tag    []byte // nil without an annotated tag
}

// Repositories reads git repositories. It is safe for concurrent use. An error that is the
// server's or the network's is a [*SourceError].
type Repositories interface {
	// Commit looks up what g.Ref is. Within one build the answer is always the same.
	Commit(ctx context.Context, g *Git) (*Commit, error)
	// Layer is the content of the commit. age is the time of its files, unless
	// g.CommitTime. What the server says while it works goes to log.
	Layer(ctx context.Context, g *Git, age time.Time, log io.Writer) (layer.Layer, error)
	// Objects are the commit and the tag themselves.
	Objects(ctx context.Context, g *Git) (*CommitObjects, error)
}

var errNoRepositories = errors.New("this build has no way to read git repositories")

// Key implements Op: the commit and what of it is wanted. Submodules are pinned by the commit.
func (g *Git) Key(ctx context.Context, env *Env, _ []Input) (Key, error) {
	if env.Repositories == nil {
		return Key{}, errNoRepositories
	}
	c, err := env.Repositories.Commit(ctx, g)
	if err != nil {
		return Key{}, err
	}
	k := newKey("git").str(c.Hash).str(g.Subdir).bool(g.KeepGitDir).bool(g.SkipSubmodules).bool(g.CommitTime)
	if g.KeepGitDir {
		k.str(RedactURL(g.URL)).str(c.Ref) // which .git/config and .git/HEAD say
	}
	return k.sum(), nil
}

// Run implements Op.
func (g *Git) Run(ctx context.Context, env *Env, _ []Input) ([]*tree.Tree, error) {
	if env.Repositories == nil {
		return nil, errNoRepositories
	}
	made, err := env.Repositories.Layer(ctx, g, env.Now, env.Stderr)
	if err != nil {
		return nil, err
	}
	return []*tree.Tree{tree.New(made)}, nil
}

// GitObjects is the commit itself, as files: "hash", "ref", "commit", and for an annotated
// tag "peeled" and "tag". The frontend reads times out of it.
type GitObjects struct{ Git *Git }

// Key implements Op.
func (o *GitObjects) Key(ctx context.Context, env *Env, in []Input) (Key, error) {
	k, err := o.Git.Key(ctx, env, in)
	return newKey("git objects").key(k).sum(), err
}

// Run implements Op.
func (o *GitObjects) Run(ctx context.Context, env *Env, _ []Input) ([]*tree.Tree, error) {
	if env.Repositories == nil {
		return nil, errNoRepositories
	}
	c, err := env.Repositories.Commit(ctx, o.Git)
	if err != nil {
		return nil, err
	}
	objects, err := env.Repositories.Objects(ctx, o.Git)
	if err != nil {
		return nil, err
	}
	var files []layer.File
	for name, data := range map[string][]byte{
		"hash": []byte(c.Hash), "ref": []byte(c.Ref), "peeled": []byte(c.Peeled),
		"commit": objects.Commit, "tag": objects.Tag,
	} {
		if len(data) > 0 {
			files = append(files, layer.File{
				Entry:   layer.Entry{Path: name, Type: layer.Regular, Mode: 0o600, Size: int64(len(data))},
				Content: layer.Bytes(data),
			})
		}
	}
	made, err := layer.New(files)
	if err != nil {
		return nil, err
	}
	return []*tree.Tree{tree.New(made)}, nil
}
