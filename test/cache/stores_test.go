package stores

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/cachetest"
	"github.com/slipway-build/slipway/pkg/cache/location"
)

// run runs the contract over stores that spec gives for a new prefix each.
func run(t *testing.T, spec func(prefix string) string) {
	t.Helper()
	var n atomic.Int32
	cachetest.Run(t, func(t *testing.T) cache.Store {
		t.Helper()
		return open(t, spec(fmt.Sprintf("team/cache-%d", n.Add(1))))
	})
}

func open(t *testing.T, spec string) cache.Store {
	t.Helper()
	s, err := location.Open(t.Context(), spec, location.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withoutAccount takes away what the environment of the test's user says of AWS.
func withoutAccount(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "credentials"),
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "S3_ENDPOINT": "", "S3_FORCE_PATH_STYLE": "",
	} {
		t.Setenv(name, value)
	}
}

func startS3(t *testing.T) (endpoint string) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s.Close)
	withoutAccount(t)
	return s.URL
}

func TestS3(t *testing.T) {
	endpoint := startS3(t)
	run(t, func(prefix string) string {
		return fmt.Sprintf("s3://bucket/%s?endpoint=%s&use_path_style=true", prefix, endpoint)
	})
}

// TestS3AsKaniko finds the server in the variables that Kaniko reads.
func TestS3AsKaniko(t *testing.T) {
	endpoint := startS3(t)
	t.Setenv("S3_ENDPOINT", endpoint)
	t.Setenv("S3_FORCE_PATH_STYLE", "true")
	roundTrip(t, open(t, "s3://bucket/kaniko"), "s3://bucket/kaniko")
}

func TestS3AsBuildKit(t *testing.T) {
	endpoint := startS3(t)
	s := open(t, "type=s3,bucket=bucket,region=eu-central-1,prefix=buildkit/,endpoint_url="+endpoint+",use_path_style=true,mode=max")
	roundTrip(t, s, "s3://bucket/buildkit")
}

func TestGCS(t *testing.T) {
	s, err := fakestorage.NewServerWithOptions(fakestorage.Options{Scheme: "http", Host: "127.0.0.1", Port: 0})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "bucket"})
	t.Setenv("STORAGE_EMULATOR_HOST", s.URL())
	run(t, func(prefix string) string { return "gs://bucket/" + prefix })
	roundTrip(t, open(t, "type=gcs,bucket=bucket,prefix=words"), "gs://bucket/words")
}
