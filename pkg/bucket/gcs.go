package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"gocloud.dev/blob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/slipway-build/slipway/pkg/bucket/internal/gcs"
)

const (
	gcsBase  = "https://storage.googleapis.com"
	gcsScope = "https://www.googleapis.com/auth/devstorage.read_write"
)

// openGCS opens "gs://bucket" with Google's application default credentials; with "?anonymous=true", or at
// the emulator that STORAGE_EMULATOR_HOST names, without any.
func openGCS(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	anonymous := q.Get("anonymous") == "true"
	if q.Del("anonymous"); len(q) > 0 {
		return nil, errors.New("there are no options but anonymous=true")
	}
	base := gcsBase
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" {
		if base = emulator; !strings.Contains(base, "://") {
			base = "http://" + base
		}
		anonymous = true
	}
	client := &http.Client{}
	if !anonymous {
		creds, err := google.FindDefaultCredentials(ctx, gcsScope)
		if err != nil {
			return nil, fmt.Errorf("looking for credentials: %w", err)
		}
		client = oauth2.NewClient(ctx, creds.TokenSource)
	}
	return blob.NewBucket(gcs.Open(client, base, u.Host)), nil
}
