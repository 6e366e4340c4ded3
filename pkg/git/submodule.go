package git

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// maxSubmoduleDepth ends the recursion of repositories that name each other.
const maxSubmoduleDepth = 16

// submodule fetches the submodule of from at a path.
func (w *writer) submodule(from *checkout, at string, commit plumbing.Hash) (*checkout, error) {
	fail := func(err error) (*checkout, error) { return nil, fmt.Errorf("submodule %s: %w", at, err) }
	if from.depth >= maxSubmoduleDepth {
		return fail(errors.New("submodules are nested too deeply"))
	}
	if from.submodules == nil {
		var err error
		if from.submodules, err = readSubmodules(from); err != nil {
			return fail(err)
		}
	}
	address, ok := from.submodules[at]
	if !ok {
		return fail(errors.New(".gitmodules does not say where it is"))
	}
	address, err := resolveAddress(from.remote.url, address)
	if err != nil {
		return fail(err)
	}
	r := from.remote.sub(address)
	repo, err := w.client.repository(w.ctx, r, commit, w.log)
	if err != nil {
		return fail(sourceError(address, err))
	}
	c, _, err := repo.commit(commit)
	if err != nil {
		return fail(err)
	}
	return &checkout{repo: repo, remote: r, tree: c.TreeHash, depth: from.depth + 1}, nil
}

// readSubmodules reads .gitmodules: URLs by path.
func readSubmodules(from *checkout) (map[string]string, error) {
	all := map[string]string{}
	t, err := object.GetTree(from.repo.store, from.tree)
	if err != nil {
		return nil, err
	}
	for _, e := range t.Entries {
		if e.Name != ".gitmodules" || e.Mode != filemode.Regular && e.Mode != filemode.Executable {
			continue
		}
		data, err := from.repo.raw(e.Hash)
		if err != nil {
			return nil, err
		}
		modules := config.NewModules()
		if err := modules.Unmarshal(data); err != nil {
			return nil, fmt.Errorf(".gitmodules: %w", err)
		}
		for _, s := range modules.Submodules {
			all[path.Clean(s.Path)] = s.URL
		}
	}
	return all, nil
}

// resolveAddress resolves a submodule's URL, which may be relative to that of the repository, as git
// does.
func resolveAddress(base, address string) (string, error) {
	if !strings.HasPrefix(address, "./") && !strings.HasPrefix(address, "../") {
		return address, nil
	}
	base = strings.TrimRight(base, "/")
	separator := "/"
	for {
		if rest, ok := strings.CutPrefix(address, "./"); ok {
			address = rest
			continue
		}
		rest, ok := strings.CutPrefix(address, "../")
		if !ok {
			return base + separator + strings.TrimSuffix(address, "/"), nil
		}
		address = rest
		switch slash, colon := strings.LastIndexByte(base, '/'), strings.LastIndexByte(base, ':'); {
		case slash > 0 && base[slash-1] != '/':
			base = base[:slash]
		case slash < 0 && colon >= 0 && separator == "/":
			base, separator = base[:colon], ":"
		default:
			return "", fmt.Errorf("the address of a submodule leads out of %s", base)
		}
	}
}
