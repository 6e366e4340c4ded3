package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/slipway-build/slipway/pkg/op"
)

// gitDir writes the directory .git of a shallow clone that has the commit checked out. It is made anew
// rather than taken over from the fetched pack, which servers make differently each time.
func (w *writer) gitDir(repo *repository, found *op.Commit, commit *object.Commit, tag *object.Tag) error {
	d := &gitDir{w: w, repo: repo, seen: map[plumbing.Hash]bool{}, index: &index.Index{Version: 2}}
	for _, dir := range []string{"", "/objects", "/refs", "/refs/heads", "/refs/tags"} {
		if err := w.directory(".git" + dir); err != nil {
			return err
		}
	}
	if err := d.object(commit.Hash); err != nil {
		return err
	}
	if tag != nil {
		if err := d.object(tag.Hash); err != nil {
			return err
		}
	}
	if err := d.tree(commit.TreeHash, ""); err != nil {
		return err
	}
	files := map[string]string{
		"HEAD": commit.Hash.String() + "\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n" +
			"[remote \"origin\"]\n\turl = " + configValue(op.RedactURL(w.git.URL)) + "\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
	}
	if len(commit.ParentHashes) > 0 {
		files["shallow"] = commit.Hash.String() + "\n"
	}
	if validRef(found.Ref) {
		files[found.Ref] = found.Hash + "\n"
	}
	var encoded bytes.Buffer
	if err := index.NewEncoder(&encoded).Encode(d.index); err != nil {
		return err
	}
	files["index"] = encoded.String()
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.bytes(".git/"+name, 0o644, []byte(files[name])); err != nil {
			return err
		}
	}
	return nil
}

// validRef reports whether a server's name for a ref can be a file below .git.
func validRef(ref string) bool {
	return (strings.HasPrefix(ref, "refs/heads/") || strings.HasPrefix(ref, "refs/tags/")) &&
		plumbing.ReferenceName(ref).Validate() == nil && path.Clean(ref) == ref
}

func configValue(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// gitDir collects what a .git has.
type gitDir struct {
	w     *writer
	repo  *repository
	seen  map[plumbing.Hash]bool
	index *index.Index
}

// tree writes the objects of a directory, and enters its files into the index.
func (d *gitDir) tree(hash plumbing.Hash, dir string) error {
	if err := d.object(hash); err != nil {
		return err
	}
	t, err := object.GetTree(d.repo.store, hash)
	if err != nil {
		return err
	}
	for _, e := range t.Entries {
		name := path.Join(dir, e.Name)
		if e.Mode == filemode.Dir {
			if err := d.tree(e.Hash, name); err != nil {
				return err
			}
			continue
		}
		if e.Mode != filemode.Submodule {
			if err := d.object(e.Hash); err != nil {
				return err
			}
		}
		// Without size and times: git looks at the files when it wants to know.
		d.index.Entries = append(d.index.Entries, &index.Entry{Name: name, Hash: e.Hash, Mode: e.Mode})
	}
	return nil
}

// object writes one object in git's loose form.
func (d *gitDir) object(hash plumbing.Hash) (err error) {
	if d.seen[hash] {
		return nil
	}
	d.seen[hash] = true
	o, err := d.repo.store.EncodedObject(plumbing.AnyObject, hash)
	if err != nil {
		return fmt.Errorf("object %s: %w", hash, err)
	}
	rc, err := o.Reader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	var loose bytes.Buffer
	out := objfile.NewWriter(&loose)
	if err := out.WriteHeader(o.Type(), o.Size()); err != nil {
		return err
	}
	if _, err := io.Copy(out, rc); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	name := hash.String()
	return d.w.bytes(".git/objects/"+name[:2]+"/"+name[2:], 0o444, loose.Bytes())
}
