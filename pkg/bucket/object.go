package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/slipway-build/slipway/pkg/bucket/internal/gcs"
)

// azureHost are the hosts of Azure's blob storage, in all of its clouds, with the account's name. Nothing else is
// ever given an account's credentials because of its name.
var azureHost = regexp.MustCompile(`^[a-z0-9]{3,24}\.blob\.core\.(windows\.net|chinacloudapi\.cn|cloudapi\.de|usgovcloudapi\.net)$`)

// AzureObject is the URL "azblob://container/object?account_url=…" of what a URL of Azure's web servers,
// "https://ACCOUNT.blob.core.windows.net/container/object", is about; nil for URLs of others, and for those that are
// signed, which need no other credentials.
func AzureObject(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !azureHost.MatchString(u.Host) {
		return nil
	}
	container, object, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if container == "" {
		return nil
	}
	q := url.Values{"account_url": {"https://" + u.Host}}
	return &url.URL{Scheme: "azblob", Host: container, Path: "/" + object, RawQuery: q.Encode()}
}

// HasAzureCredentials reports whether env, such as [os.Getenv], has credentials for Azure's storage.
func HasAzureCredentials(env func(string) string) bool {
	return anySet([]string{
		"AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING",
		"AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE",
	}, env)
}

// OpenObject opens the object of that name in the bucket of a URL for reading from its beginning. That the object ends
// early is an error.
func OpenObject(ctx context.Context, u *url.URL, name string) (_ io.ReadCloser, err error) {
	b, err := Open(ctx, u)
	if err != nil {
		return nil, err
	}
	r, err := b.NewReader(ctx, name, nil)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	size := r.Size()
	if size <= 0 { // an answer in chunks has none, and an end of its own
		size = -1
	}
	return &object{r, b, size}, nil
}

type object struct {
	r      *blob.Reader
	bucket *blob.Bucket
	left   int64 // bytes; below zero where the server did not say
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if o.left >= 0 { // clients end a body where the server said that it ends
		o.left = max(0, o.left-int64(n))
	}
	if errors.Is(err, io.EOF) && o.left > 0 {
		err = fmt.Errorf("the object ends %d bytes early: %w", o.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (o *object) Close() error { return errors.Join(o.r.Close(), o.bucket.Close()) }

// Status is the HTTP status of the answer that err is about; 0 if it is about none.
func Status(err error) int {
	var (
		aws   interface{ HTTPStatusCode() int }
		azure *azcore.ResponseError
		other *gcs.StatusError
	)
	switch {
	case errors.As(err, &aws):
		return aws.HTTPStatusCode()
	case errors.As(err, &azure):
		return azure.StatusCode
	case errors.As(err, &other):
		return other.Code
	}
	return 0
}

// IsMissing reports whether err says that there is no such object, or no such bucket.
func IsMissing(err error) bool {
	return gcerrors.Code(err) == gcerrors.NotFound || Status(err) == http.StatusNotFound
}

// IsForbidden reports whether err says that the credentials do not suffice.
func IsForbidden(err error) bool {
	status := Status(err)
	return gcerrors.Code(err) == gcerrors.PermissionDenied || status == http.StatusUnauthorized || status == http.StatusForbidden ||
		errors.Is(err, os.ErrPermission)
}
