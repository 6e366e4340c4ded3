package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	cloud "github.com/slipway-build/slipway/pkg/bucket"
)

// Schemes are those of the URLs that Open accepts.
func Schemes() []string {
	all := append(cloud.Schemes(), "file", "mem")
	slices.Sort(all)
	return all
}

// Open opens the store at a URL, "s3://bucket/prefix", "gs://…", "azblob://container/…", "file:///directory"
// or "mem://". Its query has options of the provider. Credentials are those that the provider's own tools would
// find. Nothing but these is asked for yet; the store can be used as long as ctx lasts.
func Open(ctx context.Context, u *url.URL) (*Store, error) {
	s, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", cloud.Place(u), cloud.Redacted(err))
	}
	return s, nil
}

func open(ctx context.Context, u *url.URL) (*Store, error) {
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("a URL of a cache has neither a user nor a fragment")
	}
	switch u.Scheme {
	case "file":
		return openFile(ctx, u)
	case "mem":
		return Memory(ctx), nil
	}
	if !slices.Contains(cloud.Schemes(), u.Scheme) {
		return nil, fmt.Errorf("the scheme is none of %s", strings.Join(Schemes(), ", "))
	}
	for _, part := range strings.Split(strings.Trim(u.Path, "/"), "/") {
		if part == "." || part == ".." {
			return nil, fmt.Errorf("%q cannot be part of a prefix", part)
		}
	}
	b, err := cloud.Open(ctx, u)
	if err != nil {
		return nil, err
	}
	s := New(ctx, b, path.Clean("/"+u.Path), cloud.Place(u))
	s.uploads = u.Scheme != "gs" // whose driver is ours, and is written to
	return s, nil
}

func openFile(ctx context.Context, u *url.URL) (*Store, error) {
	if u.RawQuery != "" {
		return nil, errors.New("a directory has no options")
	}
	if u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return nil, errors.New("a directory's URL has the form file:///directory")
	}
	return Dir(ctx, u.Path)
}
