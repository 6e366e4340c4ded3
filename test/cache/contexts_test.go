package stores

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/fsouza/fake-gcs-server/fakestorage"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/op"
)

// contextTar is an archive whose build gives the file f with the content, and not the file ignored.
func contextTar(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	files := map[string]string{
		"Dockerfile": "FROM scratch\nCOPY f* ignored* /\n", ".dockerignore": "ignored", "f": content, "ignored": "", "noise": strings.Repeat("noise", 1<<20),
		"sub/Dockerfile": "FROM scratch\nCOPY f /\n", "sub/f": content + " below",
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(t *testing.T, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// contextObjects are archives by the names of their objects.
func contextObjects(t *testing.T) map[string][]byte {
	t.Helper()
	gz := func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
	whole := compressed(t, contextTar(t, "whole"), gz)
	return map[string][]byte{
		"context.tar.gz":      compressed(t, contextTar(t, "default"), gz),
		"team/context.tar.gz": compressed(t, contextTar(t, "of the team"), gz),
		"team/app.tar":        contextTar(t, "plain"),
		"team/a b+c.tar.zst":  compressed(t, contextTar(t, "zstd"), func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
		"cut.tar.gz":          whole[:len(whole)-10],
		"text":                []byte("just text"),
	}
}

// contextFile builds from a context and gives the content of the file f.
func contextFile(t *testing.T, context, sub string) (string, error) {
	t.Helper()
	dest := t.TempDir()
	o := build.Options{
		Context: context, ContextSubPath: sub, StateDir: t.TempDir(), Progress: "plain", ProgressTo: t.Output(),
		Outputs: []string{"type=local,dest=" + dest},
	}
	o.Registry.Retry.Base, o.Registry.Retry.Attempts = time.Millisecond, 3
	if _, err := build.Run(t.Context(), o); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dest, "ignored")); err == nil {
		t.Error(".dockerignore does not count")
	}
	data, err := os.ReadFile(filepath.Join(dest, "f"))
	return string(data), err
}

// buildContexts builds from the objects of contextObjects in the bucket whose URL is bucket, with a query.
func buildContexts(t *testing.T, bucket, query string) {
	t.Helper()
	for _, c := range []struct{ object, sub, want, err string }{
		{"", "", "default", ""},
		{"/", "sub", "default below", ""},
		{"/team/", "", "of the team", ""},
		{"/team/app.tar", "sub", "plain below", ""},
		{"/team/a%20b+c.tar.zst", "", "zstd", ""},
		{"/cut.tar.gz", "", "", "unexpected EOF"},
		{"/text", "", "", "it is no tar archive"},
		{"/team/nope.tar", "", "", "there is no such object"},
	} {
		got, err := contextFile(t, bucket+c.object+query, c.sub)
		if c.err == "" && (err != nil || got != c.want) {
			t.Errorf("%s%s: got %q, %v", bucket, c.object, got, err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || temporary(err)) {
			t.Errorf("%s%s: error %v, which may pass: %t", bucket, c.object, err, temporary(err))
		}
	}
}

func temporary(err error) bool {
	var source *op.SourceError
	return errors.As(err, &source) && source.Temporary()
}

// put sends the objects to a server that takes them as files.
func put(t *testing.T, endpoint string, objects map[string][]byte) {
	t.Helper()
	for name, data := range objects {
		u := endpoint + (&url.URL{Path: "/" + name}).EscapedPath()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("putting %s: %s, %v", name, resp.Status, err)
		}
	}
}

func TestContextsS3(t *testing.T) {
	endpoint := startS3(t)
	put(t, endpoint+"/bucket", contextObjects(t))
	t.Run("in the query", func(t *testing.T) { buildContexts(t, "s3://bucket", "?use_path_style=true&endpoint="+endpoint) })
	t.Run("as Kaniko", func(t *testing.T) {
		t.Setenv("S3_ENDPOINT", endpoint)
		t.Setenv("S3_FORCE_PATH_STYLE", "true")
		buildContexts(t, "s3://bucket", "")
	})
}

func TestContextsGCS(t *testing.T) {
	var objects []fakestorage.Object
	for name, data := range contextObjects(t) {
		objects = append(objects, fakestorage.Object{ObjectAttrs: fakestorage.ObjectAttrs{BucketName: "bucket", Name: name}, Content: data})
	}
	s, err := fakestorage.NewServerWithOptions(fakestorage.Options{Scheme: "http", Host: "127.0.0.1", Port: 0, InitialObjects: objects})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	t.Setenv("STORAGE_EMULATOR_HOST", s.URL())
	buildContexts(t, "gs://bucket", "")
}

func TestContextsAzure(t *testing.T) {
	account := startAzurite(t)
	credential, err := azblob.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	client, err := azblob.NewClientWithSharedKeyCredential(account, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range contextObjects(t) {
		if _, err := client.UploadBuffer(t.Context(), "container", name, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_ACCESS_KEY", azuriteKey)
	buildContexts(t, "azblob://container", "?account_url="+account)
	t.Setenv("AZURE_STORAGE_ACCESS_KEY", strings.Repeat("A", len(azuriteKey)-2)+"==")
	if _, err := contextFile(t, "azblob://container?account_url="+account, ""); err == nil || !strings.Contains(err.Error(), "credentials") || temporary(err) {
		t.Errorf("with a wrong key: %v", err)
	}
}

// TestContextsThatBreak has a proxy before the server that fails.
func TestContextsThatBreak(t *testing.T) {
	endpoint := startS3(t)
	put(t, endpoint+"/bucket", contextObjects(t))
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	for name, c := range map[string]struct {
		fail   func(w http.ResponseWriter, r *http.Request)
		times  int32
		err    string
		passes bool
	}{
		"breaks off once":   {breakOff(proxy), 1, "", false},
		"breaks off always": {breakOff(proxy), 99, "unexpected EOF", true},
		"unavailable":       {answer(http.StatusServiceUnavailable, "SlowDown"), 99, "SlowDown", true},
		"forbidden":         {answer(http.StatusForbidden, "AccessDenied"), 99, "the credentials for it are missing or do not suffice", false},
		"unknown key":       {answer(http.StatusForbidden, "InvalidAccessKeyId"), 99, "the credentials for it are missing or do not suffice", false},
	} {
		t.Run(name, func(t *testing.T) {
			var failures atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if failures.Add(1) <= c.times {
					c.fail(w, r)
					return
				}
				proxy.ServeHTTP(w, r)
			}))
			t.Cleanup(s.Close)
			got, err := contextFile(t, "s3://bucket/team/app.tar?use_path_style=true&endpoint="+s.URL, "")
			if c.err == "" {
				if err != nil || got != "plain" || failures.Load() != c.times+1 {
					t.Errorf("got %q, %v, after %d requests", got, err, failures.Load())
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || temporary(err) != c.passes {
				t.Errorf("error %v, which may pass: %t", err, temporary(err))
			}
		})
	}
}

// breakOff gives the first half of the answer.
func breakOff(whole http.Handler) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		got := httptest.NewRecorder()
		whole.ServeHTTP(got, r)
		maps.Copy(w.Header(), got.Header())
		w.WriteHeader(got.Code)
		_, _ = w.Write(got.Body.Bytes()[:got.Body.Len()/2])
		panic(http.ErrAbortHandler)
	}
}

func answer(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
	}
}
