package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// mirror is where the repositories of a registry are, too: below prefix at host.
type mirror struct{ host, prefix string }

// parseMirrors reads mirrors by the names of registries, and names those as requests to them do.
func parseMirrors(of map[string][]string) (map[string][]mirror, error) {
	all := map[string][]mirror{}
	for registry, mirrors := range of {
		r, err := name.NewRegistry(registry)
		if err != nil {
			return nil, &Error{Op: "parsing registry", Ref: registry, Kind: Invalid, Err: err}
		}
		for _, s := range mirrors {
			m, err := parseMirror(s)
			if err != nil {
				return nil, &Error{Op: "parsing mirror", Ref: s, Kind: Invalid, Err: err}
			}
			all[r.RegistryStr()] = append(all[r.RegistryStr()], m)
		}
	}
	return all, nil
}

func parseMirror(s string) (mirror, error) {
	if strings.Contains(s, "://") {
		return mirror{}, errors.New("it is HOST[:PORT][/PREFIX], without a scheme; plain HTTP is what --insecure-registry allows")
	}
	host, prefix, _ := strings.Cut(strings.TrimRight(s, "/"), "/")
	r, err := name.NewRegistry(host)
	if err != nil || host == "" {
		return mirror{}, fmt.Errorf("%q is no registry", host)
	}
	if prefix != "" {
		if _, err := name.NewRepository(r.RegistryStr() + "/" + prefix); err != nil {
			return mirror{}, err
		}
	}
	return mirror{r.RegistryStr(), prefix}, nil
}

// repository is where the mirror has repo.
func (m mirror) repository(repo name.Repository, plainHTTP bool) (name.Repository, error) {
	var opts []name.Option
	if plainHTTP {
		opts = append(opts, name.Insecure)
	}
	r, err := name.NewRegistry(m.host, opts...)
	if err != nil {
		return name.Repository{}, err
	}
	return r.Repo(strings.TrimPrefix(m.prefix+"/"+repo.RepositoryStr(), "/")), nil
}

// mirrorState is what a client found out about mirrors.
type mirrorState struct {
	down sync.Map // hosts of mirrors that are not asked any more
	told sync.Map // notes that were given
}

// mirrorAttempts is how often a mirror is asked where something else can be asked after it.
const mirrorAttempts = 2

// mirrored is a repository that may be read in several places: mirrors in their order, and at last, unless that is
// excluded, the repository itself. It is for one image, or all those of an index. What has the image's manifest is asked first for all else; blobs may come
// from any of the places, as they are told by their digests.
type mirrored struct {
	client *Client
	repo   name.Repository
	places []*session

	mu     sync.Mutex
	served *session        // has given a manifest
	opened map[v1.Hash]int // how often a blob was opened
}

// mirrored is the source of an image of a repository. Nothing is contacted yet.
func (c *Client) mirrored(ctx context.Context, repo name.Repository) (source, error) {
	mirrors := c.mirrors[repo.RegistryStr()]
	if len(mirrors) == 0 {
		return c.session(ctx, repo, c.opts.Pull)
	}
	var repos []name.Repository
	for _, m := range mirrors {
		at, err := m.repository(repo, c.plainHTTP(m.host, c.opts.Pull))
		if err != nil {
			return nil, err
		}
		repos = append(repos, at)
	}
	if !c.opts.MirrorsOnly {
		repos = append(repos, repo)
	}
	m := &mirrored{client: c, repo: repo, opened: map[v1.Hash]int{}}
	for i, at := range repos {
		retry := c.opts.Retry.forAccess(c.opts.Pull)
		if i < len(repos)-1 {
			retry.Attempts = min(retry.Attempts, mirrorAttempts)
		}
		s, err := c.sessionWith(ctx, sessionKey{at, c.opts.Pull, retry})
		if err != nil {
			return nil, err
		}
		m.places = append(m.places, s)
	}
	return m, nil
}

// origin implements source: layers can be mounted from where the image was found.
func (m *mirrored) origin() name.Reference {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.served != nil {
		return origin(m.served.repo)
	}
	return origin(m.repo)
}

func (m *mirrored) layerScope() string { return layerScope(m.repo) }

// repositories implements located.
func (m *mirrored) repositories() []name.Repository {
	var all []name.Repository
	for _, p := range m.order() {
		all = append(all, p.repo)
	}
	return all
}

// order lists the places as they are to be asked: what served the image first, and without mirrors that failed.
func (m *mirrored) order() []*session {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*session
	for i, p := range m.places {
		_, down := m.client.down.Load(p.repo.RegistryStr())
		switch {
		case p == m.served:
			all = slices.Insert(all, 0, p)
		case !down || i == len(m.places)-1:
			all = append(all, p)
		}
	}
	return all
}

// manifest implements source. A tag means what it means in the first place that knows it.
func (m *mirrored) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	var failed []string
	var last error
	for _, p := range m.order() {
		desc, raw, err := p.manifest(ctx, id)
		if err == nil {
			m.serve(p)
			return desc, raw, nil
		}
		if ctx.Err() != nil {
			return v1.Descriptor{}, nil, err
		}
		m.passOver(p, err)
		if last != nil {
			failed = append(failed, last.Error())
		}
		last = err
	}
	if len(failed) > 0 {
		last = fmt.Errorf("%w; before: %s", last, strings.Join(failed, "; "))
	}
	return v1.Descriptor{}, nil, last
}

// open implements source. Who opens a blob again did not like what it got, and gets it from the next place.
func (m *mirrored) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	order := m.order()
	m.mu.Lock()
	first := m.opened[desc.Digest] % len(order)
	m.opened[desc.Digest]++
	m.mu.Unlock()
	var places []blobPlace
	for _, p := range slices.Concat(order[first:], order[:first]) {
		for _, at := range p.places(desc) {
			at.failed = func(err error) { m.passOver(p, err) }
			places = append(places, at)
		}
	}
	return resume(ctx, desc, places)
}

// serve remembers, and says once for each registry and mirror, who has the image.
func (m *mirrored) serve(p *session) {
	m.mu.Lock()
	m.served = p
	m.mu.Unlock()
	if p.repo != m.repo {
		m.note(fmt.Sprintf("images of %s are pulled from %s", m.repo.RegistryStr(), strings.TrimSuffix(p.repo.String(), "/"+m.repo.RepositoryStr())))
	}
}

// passOver says, once for each repository, why a mirror does not serve it. One that is not there at all is not asked again.
func (m *mirrored) passOver(p *session, err error) {
	if p == m.places[len(m.places)-1] {
		return // nothing comes after it
	}
	switch classify(err) {
	case Transient, Unreachable, Untrusted, RateLimited:
		m.client.down.Store(p.repo.RegistryStr(), true)
	}
	m.note(fmt.Sprintf("the mirror %s is passed over: %v", p.repo, err))
}

func (m *mirrored) note(text string) {
	text = strings.Join(strings.Fields(text), " ")
	if _, again := m.client.told.LoadOrStore(text, true); !again {
		m.client.opts.Warn(text)
	}
}
