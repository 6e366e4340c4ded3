// Package bucket opens the buckets of object stores, of S3, Google Cloud Storage and Azure Blob Storage, with the
// credentials that the clouds' own tools would find.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gocloud.dev/blob"
)

// opener opens the bucket that the host of a URL names; the URL's path is none of its business.
type opener func(ctx context.Context, u *url.URL) (*blob.Bucket, error)

func openers() map[string]opener {
	return map[string]opener{"s3": openS3, "gs": openGCS, "azblob": openAzure}
}

// Schemes are those of the URLs that Open accepts, sorted.
func Schemes() []string {
	var all []string
	for scheme := range openers() {
		all = append(all, scheme)
	}
	slices.Sort(all)
	return all
}

// Open opens the bucket of a URL, "s3://bucket/…", "gs://bucket/…" or "azblob://container/…", whatever its path is. Its
// query has options of the provider. Nothing but credentials is asked for yet. Errors may quote what is secret: see
// [Redacted].
func Open(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("the URL of a bucket has neither a user nor a fragment")
	}
	open, ok := openers()[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("the scheme is none of %s", strings.Join(Schemes(), ", "))
	}
	if u.Host == "" {
		return nil, errors.New("the URL names no bucket")
	}
	return open(ctx, &url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery})
}

// Place is a URL without what may be secret.
func Place(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}).String()
}
