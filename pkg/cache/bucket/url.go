package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"gocloud.dev/blob"
)

// opener opens the bucket that the host of a URL names; the URL's path is none of its business.
type opener func(ctx context.Context, u *url.URL) (*blob.Bucket, error)

func openers() map[string]opener {
	return map[string]opener{"s3": openS3, "gs": openGCS, "azblob": openAzure}
}

// Schemes are those of the URLs that Open accepts.
func Schemes() []string {
	all := []string{"file", "mem"}
	for scheme := range openers() {
		all = append(all, scheme)
	}
	slices.Sort(all)
	return all
}

// Open opens the store at a URL, "s3://bucket/prefix", "gs://…", "azblob://container/…", "file:///directory"
// or "mem://". Its query has options of the provider. Credentials are those that the provider's own tools would
// find. Nothing but these is asked for yet; the store can be used as long as ctx lasts.
func Open(ctx context.Context, u *url.URL) (*Store, error) {
	s, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", place(u), &redactedError{err})
	}
	return s, nil
}

// place is a URL without what may be secret.
func place(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}).String()
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
	open, ok := openers()[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("the scheme is none of %s", strings.Join(Schemes(), ", "))
	}
	if u.Host == "" {
		return nil, errors.New("the URL names no bucket")
	}
	for _, part := range strings.Split(strings.Trim(u.Path, "/"), "/") {
		if part == "." || part == ".." {
			return nil, fmt.Errorf("%q cannot be part of a prefix", part)
		}
	}
	b, err := open(ctx, &url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery})
	if err != nil {
		return nil, err
	}
	s := New(ctx, b, path.Clean("/"+u.Path), place(u))
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
