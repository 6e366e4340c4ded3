package git

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// maxLink is the longest target of a symbolic link that Linux takes, in bytes.
const maxLink = 4096

func digest(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// Layer implements op.Repositories. Files belong to root and have the modes that git knows: 0644, 0755
// and symbolic links.
func (c *Client) Layer(ctx context.Context, g *op.Git, age time.Time, log io.Writer) (layer.Layer, error) {
	repo, found, commit, tag, err := c.open(ctx, g, log)
	if err != nil {
		return nil, err
	}
	r, err := c.remote(ctx, g)
	if err != nil {
		return nil, sourceError(g.URL, err)
	}
	if g.CommitTime {
		age = commit.Committer.When
	}
	pr, pw := io.Pipe()
	go func() {
		w := &writer{client: c, ctx: ctx, tar: tar.NewWriter(pw), age: age.UTC(), git: g, log: log}
		err := w.write(&checkout{repo: repo, remote: r, tree: commit.TreeHash}, found, commit, tag)
		pw.CloseWithError(err)
	}()
	made, err := layer.FromTar(ctx, pr, c.opts.State)
	// The goroutine ends when nobody reads any more.
	if err = errors.Join(err, pr.Close()); err != nil {
		return nil, sourceError(g.URL, err)
	}
	return made, nil
}

// writer writes what a commit has as a tar.
type writer struct {
	client *Client
	ctx    context.Context // of the one call that writes
	tar    *tar.Writer
	age    time.Time
	git    *op.Git
	log    io.Writer
}

// checkout is one repository of those that are written: the main one or a submodule.
type checkout struct {
	repo   *repository
	remote *remote
	tree   plumbing.Hash // of the commit

	submodules map[string]string // path to URL; nil before it is read
	depth      int               // of submodules in submodules
}

func (w *writer) write(from *checkout, found *op.Commit, commit *object.Commit, tag *object.Tag) error {
	at, dir, hash, err := w.subdir(from)
	if err != nil {
		return err
	}
	if err := w.tree(at, hash, dir, ""); err != nil {
		return err
	}
	if w.git.KeepGitDir && dir == "" {
		if err := w.gitDir(from.repo, found, commit, tag); err != nil {
			return fmt.Errorf(".git: %w", err)
		}
	}
	return w.tar.Close()
}

// subdir finds the wanted directory. It may lie in a submodule, but no link may lead to it.
func (w *writer) subdir(from *checkout) (_ *checkout, dir string, tree plumbing.Hash, err error) {
	at, tree := from, from.tree
	for name := range strings.SplitSeq(strings.Trim(path.Join("/", w.git.Subdir), "/"), "/") {
		if name == "" {
			break
		}
		t, err := object.GetTree(at.repo.store, tree)
		if err != nil {
			return nil, "", tree, err
		}
		var entry *object.TreeEntry
		for i := range t.Entries {
			if t.Entries[i].Name == name {
				entry = &t.Entries[i]
			}
		}
		switch {
		case entry == nil:
			return nil, "", tree, fmt.Errorf("there is no directory %s in the commit", w.git.Subdir)
		case entry.Mode == filemode.Dir:
			dir, tree = path.Join(dir, name), entry.Hash
		case entry.Mode == filemode.Submodule && !w.git.SkipSubmodules:
			if at, err = w.submodule(at, path.Join(dir, name), entry.Hash); err != nil {
				return nil, "", tree, err
			}
			dir, tree = "", at.tree
		default:
			return nil, "", tree, fmt.Errorf("%s is not a directory in the commit", path.Join(dir, name))
		}
	}
	return at, dir, tree, nil
}

// tree writes a directory's content: dir is its path in the repository, to that in the tar.
func (w *writer) tree(from *checkout, hash plumbing.Hash, dir, to string) error {
	t, err := object.GetTree(from.repo.store, hash)
	if err != nil {
		return fmt.Errorf("directory %q: %w", dir, err)
	}
	for _, e := range t.Entries {
		if err := checkName(e.Name); err != nil {
			return fmt.Errorf("directory %q: %w", dir, err)
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if err := w.entry(from, e, path.Join(dir, e.Name), path.Join(to, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// checkName refuses what git refuses to check out: a commit comes from somebody else.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.EqualFold(name, ".git") || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is no name for a file in a repository", name)
	}
	return nil
}

func (w *writer) entry(from *checkout, e object.TreeEntry, in, to string) error {
	switch e.Mode {
	case filemode.Dir:
		if err := w.directory(to); err != nil {
			return err
		}
		return w.tree(from, e.Hash, in, to)
	case filemode.Submodule:
		if err := w.directory(to); err != nil || w.git.SkipSubmodules {
			return err
		}
		sub, err := w.submodule(from, in, e.Hash)
		if err != nil {
			return err
		}
		return w.tree(sub, sub.tree, "", to)
	case filemode.Symlink:
		return w.symlink(from, e.Hash, to)
	case filemode.Regular, filemode.Deprecated:
		return w.file(from, e.Hash, to, 0o644)
	case filemode.Executable:
		return w.file(from, e.Hash, to, 0o755)
	}
	return fmt.Errorf("%s has the unknown mode %s", in, e.Mode)
}

func (w *writer) header(h tar.Header) error {
	h.ModTime, h.Format = w.age, tar.FormatPAX
	return w.tar.WriteHeader(&h)
}

func (w *writer) directory(to string) error {
	return w.header(tar.Header{Typeflag: tar.TypeDir, Name: to + "/", Mode: 0o755})
}

func (w *writer) symlink(from *checkout, hash plumbing.Hash, to string) error {
	size, err := from.repo.store.EncodedObjectSize(hash)
	if err == nil && size > maxLink {
		err = errors.New("its target is too long")
	}
	if err != nil {
		return fmt.Errorf("symbolic link %s: %w", to, err)
	}
	target, err := from.repo.raw(hash)
	if err != nil {
		return fmt.Errorf("symbolic link %s: %w", to, err)
	}
	return w.header(tar.Header{Typeflag: tar.TypeSymlink, Name: to, Linkname: string(target), Mode: 0o777})
}

func (w *writer) file(from *checkout, hash plumbing.Hash, to string, mode int64) (err error) {
	o, err := from.repo.store.EncodedObject(plumbing.BlobObject, hash)
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	if err := w.header(tar.Header{Typeflag: tar.TypeReg, Name: to, Size: o.Size(), Mode: mode}); err != nil {
		return err
	}
	rc, err := o.Reader()
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	_, err = io.Copy(w.tar, rc)
	return err
}

func (w *writer) bytes(to string, mode int64, data []byte) error {
	if err := w.header(tar.Header{Typeflag: tar.TypeReg, Name: to, Size: int64(len(data)), Mode: mode}); err != nil {
		return err
	}
	_, err := w.tar.Write(data)
	return err
}
