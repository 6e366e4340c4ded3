package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

const (
	// tagsAtOnce is how many tags are asked for at once; registries may give fewer.
	tagsAtOnce = 1000
	// tagsLimit bounds one answer, in bytes: some registries give all tags at once.
	tagsLimit = 64 << 20
	// parallelLookups is how many tags are looked up at once.
	parallelLookups = 8
)

// Tags lists the tags of the repository (OCI distribution spec, "Listing Tags"). One that does not exist
// has none.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	tags, err := r.tags(ctx)
	var known *Error
	if err = wrap("listing tags of", r.repo.String(), err); errors.As(err, &known) && known.Kind == NotFound {
		return nil, nil
	}
	return tags, err
}

func (r *Repository) tags(ctx context.Context) ([]string, error) {
	s, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for next := fmt.Sprintf("%s?n=%d", s.url("tags", "list"), tagsAtOnce); next != ""; {
		var tags []string
		if tags, next, err = s.tagsPage(ctx, next); err != nil {
			return nil, err
		}
		all = append(all, tags...)
	}
	return all, nil
}

// tagsPage reads one page of tags; next is the URL of the page after it.
func (s *session) tagsPage(ctx context.Context, from string) (tags []string, next string, err error) {
	resp, err := s.get(ctx, from, nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	var page struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, tagsLimit)).Decode(&page); err != nil {
		return nil, "", fmt.Errorf("reading the list of tags: %w", err)
	}
	next, err = nextPage(resp)
	if next == from {
		err = failure(Invalid, "the registry refers from a page of the list of tags to itself")
	}
	return page.Tags, next, err
}

// nextPage is the URL in a Link header (RFC 8288) of relation "next". It leads to the same registry:
// what is sent there has our credentials.
func nextPage(resp *http.Response) (string, error) {
	for _, link := range resp.Header.Values("Link") {
		target, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
		if !ok || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		u, err := url.Parse(target)
		if err != nil {
			return "", failure(Invalid, "the list of tags goes on at %q: %w", target, err)
		}
		if u = resp.Request.URL.ResolveReference(u); u.Host != resp.Request.URL.Host || u.Scheme != resp.Request.URL.Scheme {
			return "", failure(Invalid, "the list of tags goes on at another host, %s", u.Host)
		}
		return u.String(), nil
	}
	return "", nil
}

// Delete removes tags and the manifests that no other tag names. Registries free blobs that nothing
// refers to themselves.
func (r *Repository) Delete(ctx context.Context, tags []string) error {
	return wrap("deleting from", r.repo.String(), r.delete(ctx, tags))
}

func (r *Repository) delete(ctx context.Context, tags []string) error {
	all, err := r.tags(ctx)
	if err != nil {
		var answer *transport.Error
		if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
			return nil
		}
		return err
	}
	byDigest, err := r.digests(ctx, all)
	if err != nil {
		return err
	}
	condemned := map[string]bool{}
	for _, tag := range tags {
		condemned[tag] = true
	}
	for digest, named := range byDigest {
		goes := slices.DeleteFunc(slices.Clone(named), func(tag string) bool { return !condemned[tag] })
		switch {
		case len(goes) == 0:
		case len(goes) == len(named): // what most registries can
			err = r.deleteOne(ctx, r.repo.Digest(digest))
		default:
			err = r.deleteTags(ctx, goes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// digests gives the tags by the digest of the manifest that they name.
func (r *Repository) digests(ctx context.Context, tags []string) (map[string][]string, error) {
	s, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	digests := make([]string, len(tags))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLookups)
	for i, tag := range tags {
		g.Go(func() error {
			var err error
			digests[i], err = s.digest(ctx, tag)
			var answer *transport.Error
			if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
				return nil // deleted meanwhile
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	named := map[string][]string{}
	for i, d := range digests {
		if d != "" {
			named[d] = append(named[d], tags[i])
		}
	}
	return named, nil
}

// digest is that of the manifest which has a tag.
func (s *session) digest(ctx context.Context, tag string) (string, error) {
	_, digest, err := s.head(ctx, tag)
	if err == nil && digest == "" {
		var desc v1.Descriptor
		desc, _, err = s.manifest(ctx, tag)
		return desc.Digest.String(), err
	}
	return digest, err
}

// deleteTags removes tags and leaves their manifest. Not every registry can.
func (r *Repository) deleteTags(ctx context.Context, tags []string) error {
	for _, tag := range tags {
		if err := r.deleteOne(ctx, r.repo.Tag(tag)); err != nil {
			return fmt.Errorf("tag %s, whose manifest has other tags: %w", tag, err)
		}
	}
	return nil
}

// deleteOne deletes a manifest or a tag (OCI distribution spec, "Content Management").
func (r *Repository) deleteOne(ctx context.Context, ref name.Reference) error {
	err := r.client.pushing(ctx, r.repo, func(p *remote.Pusher) error { return p.Delete(ctx, ref) })
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return err
	}
	unsupported := slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.UnsupportedErrorCode
	})
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return nil // deleted meanwhile
	case unsupported, answer.StatusCode == http.StatusMethodNotAllowed:
		return failure(Unsupported, "the registry does not let its clients delete; what it keeps, and how long, is set in the registry itself: %w", err)
	}
	return err
}
