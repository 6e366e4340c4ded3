package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/cache/cachetest"
	"github.com/slipway-build/slipway/pkg/state"
)

// runSlipway runs a command line and returns its exit code and output.
func runSlipway(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"slipway"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func keepRecord(t *testing.T, s cache.Store, name, content string) {
	t.Helper()
	cachetest.PutRecord(t, s, name, cache.Record{Created: time.Now(), Step: "RUN make " + name}, content, "index")
}

func TestCachePrune(t *testing.T) {
	dir := t.TempDir()
	s, err := bucket.Dir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	keepRecord(t, s, "old", strings.Repeat("o", 2048))
	keepRecord(t, s, "young", strings.Repeat("y", 2048))
	before := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "manifests/old.json"), before, before); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flags string
		want  []string
	}{
		{"--max-age=24h --dry-run", []string{"would remove old, ", ": RUN make old\n", "would remove 1 entries, 2KiB freed; 1 entries stay"}},
		{"--max-size=2100b --grace=1h", []string{"removed old, ", "removed 1 entries, 0B freed; 1 entries stay"}},
		{"--max-age=24h --grace=0s", []string{"removed 0 entries, 2KiB freed; 1 entries stay"}},
	} {
		code, out, errs := runSlipway(append([]string{"cache", "prune", dir}, strings.Fields(test.flags)...)...)
		if code != 0 {
			t.Fatalf("%s: exit code %d, %s", test.flags, code, errs)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s says\n%s\nwithout %q", test.flags, out, want)
			}
		}
	}
	if _, err := s.Manifest(t.Context(), "young"); err != nil {
		t.Error(err)
	}
}

// A bucket is pruned with the credentials of a mounted Secret.
func TestPruneWithCloudCredentials(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, `<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>`)
	}))
	t.Cleanup(s.Close)
	dir := cloudCredentials(t, map[string]string{
		"AWS_ACCESS_KEY_ID": "pruner", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "us-east-1",
		"S3_ENDPOINT": s.URL, "S3_FORCE_PATH_STYLE": "true",
	})
	code, out, errs := runSlipway("cache", "prune", "--max-age=24h", "--cloud-credentials-dir", dir, "s3://bucket/team")
	if code != 0 || !strings.Contains(out, "removed 0 entries") {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	for _, a := range asked {
		if !strings.HasPrefix(a, "GET /bucket") || !strings.Contains(a, "Credential=pruner/") {
			t.Errorf("it asked %s", a)
		}
	}
	if len(asked) == 0 {
		t.Error("it asked nothing")
	}
}

func TestStatePrune(t *testing.T) {
	path := t.TempDir()
	d, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range append(stateKinds(), "cachemounts") {
		f, err := d.File(t.Context(), kind, "object", func(_ context.Context, f *os.File) error {
			_, err := f.WriteString("some content")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close() // it was only read
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // coarser than the clocks of filesystems
	code, out, errs := runSlipway("cache", "prune", "--state-dir", path, "--max-age", "1ms")
	if code != 0 || !strings.Contains(out, "removed blobs/object, used last ") || !strings.Contains(out, "removed 7 objects, 84B freed; 0B stay\n") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out)
	}
	if _, err := os.Stat(filepath.Join(path, "cachemounts/object")); err != nil {
		t.Error(err)
	}
}

func TestCacheUsage(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"cache prune", "say which cache to prune"},
		{"cache prune --max-size=lots /tmp/x", `--max-size "lots" is not a size`},
		{"cache prune --max-age=-1h /tmp/x", "not negative"},
		{"cache prune --max-agee=1h /tmp/x", "Did you mean --max-age?"},
		{"cache prune --cloud-credentials-dir=/not/there s3://bucket/x", "credentials for buckets: open /not/there"},
		{"cache prune /not/there", "stat /not/there: no such file or directory"},
		{"cache prune type=local,src=/not/there", "stat /not/there: no such file or directory"},
		{"cache prune file:///not/there", "stat /not/there: no such file or directory"},
		{"cache prune type=gha", "type=gha: the cache service of GitHub Actions is not supported"},
		{"cache prune ftp://host/x", "the scheme is none of azblob, file, gs, mem, s3"},
		{"cache warm", "there is nothing to fetch"},
		{"cache warm --cache-ttl=-1h a", "--cache-ttl is not negative"},
		{"cache warm --platform x/y/z/a a", `platform "x/y/z/a"`},
		{"cache warm --build-context x a", "not of the form NAME=VALUE"},
		{"cache warm --registry-certificate x a", "not of the form NAME=VALUE"},
		{"cache clean", `unknown command "cache clean"`},
	} {
		code, out, errs := runSlipway(strings.Fields(test.args)...)
		if code != exitUsage || !strings.Contains(errs, test.want) {
			t.Errorf("%s: exit code %d, %s%s", test.args, code, out, errs)
		}
	}
}
