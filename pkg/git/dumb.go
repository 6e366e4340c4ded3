package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// dumbServer is a repository whose files a web server gives; git's documentation calls this the dumb protocol.
// Its owner has run "git update-server-info", which writes down what refs and packs there are.
type dumbServer struct {
	client *http.Client
	base   string // of the URLs of all files
	packs  []string
	asked  bool // packs are what the server has and was not fetched yet
}

// maxList is the most that is read of a list of refs or packs.
const maxList = 64 << 20

// connectDumb reads what refs there are. They say what such a server can do in the words of the others.
func connectDumb(ctx context.Context, client *http.Client, address string) (*dumbServer, *packp.AdvRefs, error) {
	s := &dumbServer{client: client, base: strings.TrimSuffix(address, "/")}
	res, err := s.get(ctx, "info/refs")
	if err != nil {
		return nil, nil, err
	}
	refs, err := readRefs(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, nil, fmt.Errorf("info/refs: %w", err)
	}
	if base, ok := strings.CutSuffix(withoutQuery(res.Request.URL), "/info/refs"); ok {
		s.base = base // where we were redirected to
	}
	if err := s.head(ctx, refs); err != nil {
		return nil, nil, err
	}
	for _, c := range []capability.Capability{capability.Shallow, capability.AllowReachableSHA1InWant} {
		if err := refs.Capabilities.Set(c); err != nil {
			return nil, nil, err
		}
	}
	return s, refs, nil
}

func withoutQuery(u *url.URL) string {
	plain := *u
	plain.RawQuery = ""
	return plain.String()
}

// get asks for a file of the repository.
func (s *dumbServer) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := githttp.NewErr(res); err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	return res, nil
}

// text reads a small file of the repository.
func (s *dumbServer) text(ctx context.Context, path string) (string, error) {
	res, err := s.get(ctx, path)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxList))
	return string(data), errors.Join(err, res.Body.Close())
}

// readRefs reads lines of a hash, a tab and a ref; what an annotated tag is about has "^{}" behind the tag.
func readRefs(r io.Reader) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	lines := bufio.NewScanner(io.LimitReader(r, maxList))
	for lines.Scan() {
		hash, name, ok := strings.Cut(lines.Text(), "\t")
		if len(hash) == sha256Size && isHex(hash) {
			return nil, errSHA256
		}
		if !ok || !isHash(hash) {
			return nil, fmt.Errorf("%.80q is not a ref with its hash", lines.Text())
		}
		if tag, peeled := strings.CutSuffix(name, "^{}"); peeled {
			refs.Peeled[tag] = plumbing.NewHash(hash)
		} else {
			refs.References[name] = plumbing.NewHash(hash)
		}
	}
	return refs, lines.Err()
}

// head finds out which branch is the default one.
func (s *dumbServer) head(ctx context.Context, refs *packp.AdvRefs) error {
	text, err := s.text(ctx, "HEAD")
	if err != nil {
		return fmt.Errorf("HEAD: %w", err)
	}
	text = strings.TrimSpace(text)
	if target, ok := strings.CutPrefix(text, "ref: "); ok {
		hash, ok := refs.References[target]
		if !ok {
			return nil // a branch without commits
		}
		refs.Head = &hash
		return refs.Capabilities.Add(capability.SymRef, "HEAD:"+target)
	}
	if !isHash(text) {
		return fmt.Errorf("HEAD: %.80q is neither a ref nor a hash", text)
	}
	hash := plumbing.NewHash(text)
	refs.Head = &hash
	return nil
}

// Close does nothing: nothing stays open between requests.
func (s *dumbServer) Close() error { return nil }

// receive follows objects from wants to all that they need, one file after the other.
func (s *dumbServer) receive(ctx context.Context, repo *repository, wants []plumbing.Hash, depth int, log io.Writer) error {
	if depth > 0 {
		if err := repo.store.SetShallow(wants); err != nil {
			return err
		}
	}
	seen := map[plumbing.Hash]bool{}
	todo := append([]plumbing.Hash(nil), wants...)
	for len(todo) > 0 {
		hash := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[hash] {
			continue
		}
		seen[hash] = true
		o, err := s.object(ctx, repo, hash, log)
		if err != nil {
			return fmt.Errorf("object %s: %w", hash, err)
		}
		needs, err := needed(repo, o, depth == 0)
		if err != nil {
			return fmt.Errorf("object %s: %w", hash, err)
		}
		todo = append(todo, needs...)
	}
	return nil
}

// needed are the objects that o is made of, and the commits before it if history is wanted.
func needed(repo *repository, o plumbing.EncodedObject, history bool) ([]plumbing.Hash, error) {
	switch o.Type() {
	case plumbing.TagObject:
		tag, err := object.DecodeTag(repo.store, o)
		if err != nil {
			return nil, err
		}
		return []plumbing.Hash{tag.Target}, nil
	case plumbing.CommitObject:
		commit, err := object.DecodeCommit(repo.store, o)
		if err != nil {
			return nil, err
		}
		hashes := []plumbing.Hash{commit.TreeHash}
		if history {
			hashes = append(hashes, commit.ParentHashes...)
		}
		return hashes, nil
	case plumbing.TreeObject:
		tree, err := object.DecodeTree(repo.store, o)
		if err != nil {
			return nil, err
		}
		var hashes []plumbing.Hash
		for _, e := range tree.Entries {
			if e.Mode != filemode.Submodule {
				hashes = append(hashes, e.Hash)
			}
		}
		return hashes, nil
	}
	return nil, nil
}

// object brings an object into repo: it has a file of its own, or is in one of the packs.
func (s *dumbServer) object(ctx context.Context, repo *repository, hash plumbing.Hash, log io.Writer) (plumbing.EncodedObject, error) {
	if o, err := repo.store.EncodedObject(plumbing.AnyObject, hash); err == nil {
		return o, nil
	}
	id := hash.String()
	res, err := s.get(ctx, "objects/"+id[:2]+"/"+id[2:])
	if err == nil {
		err = readLoose(repo, res.Body, hash)
		if err = errors.Join(err, res.Body.Close()); err != nil {
			return nil, err
		}
		return repo.store.EncodedObject(plumbing.AnyObject, hash)
	}
	if !absent(err) {
		return nil, err
	}
	return s.packed(ctx, repo, hash, log)
}

// absent reports whether the server has no such file.
func absent(err error) bool { return errors.Is(err, transport.ErrRepositoryNotFound) }

// readLoose stores an object that has a file of its own, if it is the one that it should be.
func readLoose(repo *repository, r io.Reader, hash plumbing.Hash) (err error) {
	file, err := objfile.NewReader(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	kind, size, err := file.Header()
	if err != nil {
		return err
	}
	o := repo.store.NewEncodedObject()
	o.SetType(kind)
	o.SetSize(size)
	w, err := o.Writer()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if o.Hash() != hash {
		return fmt.Errorf("the server gave %s instead", o.Hash())
	}
	_, err = repo.store.SetEncodedObject(o)
	return err
}

// packed fetches one pack after the other until the object is there.
func (s *dumbServer) packed(ctx context.Context, repo *repository, hash plumbing.Hash, log io.Writer) (plumbing.EncodedObject, error) {
	if !s.asked {
		text, err := s.text(ctx, "objects/info/packs")
		if err != nil && !absent(err) {
			return nil, fmt.Errorf("objects/info/packs: %w", err)
		}
		s.asked = true
		for line := range strings.Lines(text) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "P "); ok && !strings.Contains(name, "/") {
				s.packs = append(s.packs, name)
			}
		}
	}
	for len(s.packs) > 0 {
		name := s.packs[0]
		s.packs = s.packs[1:]
		if log != nil {
			fmt.Fprintf(log, "fetching %s\n", name)
		}
		res, err := s.get(ctx, "objects/pack/"+name)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		err = packfile.UpdateObjectStorage(repo.store, res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if o, err := repo.store.EncodedObject(plumbing.AnyObject, hash); err == nil {
			return o, nil
		}
	}
	return nil, errors.New("it is neither a file of the repository nor in one of its packs")
}
