package bucket

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// openS3 opens "s3://bucket?region=…&endpoint=…&use_path_style=…" with the environment of AWS's tools, and
// S3_ENDPOINT and S3_FORCE_PATH_STYLE as in Kaniko.
func openS3(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	if err := defaultS3(q, os.Getenv); err != nil {
		return nil, err
	}
	return (&s3blob.URLOpener{}).OpenBucketURL(ctx, &url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: q.Encode()})
}

// defaultS3 adds what the environment says and the query does not.
func defaultS3(q url.Values, env func(string) string) error {
	if force := env("S3_FORCE_PATH_STYLE"); force != "" && !q.Has("use_path_style") {
		on, err := strconv.ParseBool(force)
		if err != nil {
			return fmt.Errorf("S3_FORCE_PATH_STYLE=%q is neither true nor false", force)
		}
		q.Set("use_path_style", strconv.FormatBool(on))
	}
	if endpoint := env("S3_ENDPOINT"); endpoint != "" && !q.Has("endpoint") {
		q.Set("endpoint", endpoint)
	}
	endpoint := q.Get("endpoint")
	if endpoint == "" {
		return nil
	}
	if !strings.Contains(endpoint, "://") {
		q.Set("endpoint", "https://"+endpoint)
	}
	// Servers other than AWS's ignore the region, and many do not know the checksums that AWS's client
	// sends since 2025. Whoever reads verifies anyway.
	for name, value := range map[string]struct{ envs, value string }{
		"region":                       {"AWS_REGION AWS_DEFAULT_REGION", "us-east-1"},
		"request_checksum_calculation": {"AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"},
		"response_checksum_validation": {"AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"},
	} {
		if !q.Has(name) && !anySet(strings.Fields(value.envs), env) {
			q.Set(name, value.value)
		}
	}
	return nil
}

func anySet(names []string, env func(string) string) bool {
	for _, name := range names {
		if env(name) != "" {
			return true
		}
	}
	return false
}
