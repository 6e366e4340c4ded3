package location_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/cache/cachetest"
	"github.com/slipway-build/slipway/pkg/cache/location"
)

// TestOpen opens what users write. No server is asked: whether there is one, is seen later.
func TestOpen(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "hush", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_REGION": "eu-central-1", "AWS_BUCKET": "of-the-environment",
		"AZURE_STORAGE_KEY": "aHVzaA==", "AZURE_STORAGE_ACCOUNT": "acct", "STORAGE_EMULATOR_HOST": "127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	for spec, want := range map[string]string{
		"registry.example/team/cache":                       "registry.example/team/cache",
		"docker://registry.example/team/cache":              "registry.example/team/cache",
		"type=registry,ref=registry.example/cache,mode=max": "registry.example/cache",
		"team/cache":                   "index.docker.io/team/cache",
		dir + "/a":                     dir + "/a",
		"./b":                          "./b",
		"..":                           "..",
		"oci:" + dir + "/c":            dir + "/c",
		"oci:d":                        "d",
		"file://" + dir + "/e":         dir + "/e",
		"type=local,src=" + dir + "/f": dir + "/f",
		"type=local,dest=g,mode=min,compression=zstd": "g",
		"mem://":      "mem://",
		"s3://bucket": "s3://bucket",
		"s3://bucket/a/b/?region=eu-west-1&ssetype=AES256":   "s3://bucket/a/b",
		"type=s3,bucket=bucket,prefix=a/b/,region=eu-west-1": "s3://bucket/a/b",
		"type=s3,endpoint_url=http://127.0.0.1:1":            "s3://of-the-environment",
		"gs://bucket/a":                     "gs://bucket/a",
		"type=gcs,bucket=bucket,prefix=/a/": "gs://bucket/a",
		"azblob://container/a":              "azblob://container/a",
		"azblob://container/a?account_url=https://b.blob.example":      "azblob://container/a",
		"type=azblob,account_url=https://acct.blob.core.windows.net":   "azblob://buildkit-cache",
		"type=azblob,account_name=acct,container=c,prefix=p,name=n":    "azblob://c/p",
		`type=registry,"ref=registry.example/cache",ignore-error=true`: "registry.example/cache",
	} {
		t.Run(spec, func(t *testing.T) {
			s, err := location.Open(t.Context(), spec, location.Options{Registry: client(t)})
			if err != nil {
				t.Fatal(err)
			}
			if s.String() != want {
				t.Errorf("it is %s instead of %s", s, want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("cache", 0o755); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]string{
		"":                                "could not parse reference",
		"Not A Repository":                "could not parse reference",
		"oci:":                            "the directory has no name",
		"cache":                           "write ./cache",
		"ftp://host/x":                    "the scheme is none of azblob, file, gs, mem, s3",
		"s3:///prefix":                    "the URL names no bucket",
		"s3://user:hush@bucket/x":         "has neither a user nor a fragment",
		"s3://bucket/../other":            `".." cannot be part of a prefix`,
		"s3://bucket?regio=x&secret=hush": "unknown query parameter",
		"gs://bucket?private_key=hush":    "there are no options but anonymous=true",
		"azblob://c?account_url=https://a?sig=hush": "is not the URL of an account",
		"file://host/x":        "has the form file:///directory",
		"file:///tmp?x=hush":   "a directory has no options",
		"s3://bucket/%zz?hush": "s3://… is not a URL",
		"type=":                "the type is none of",
		"type=redis,host=x":    "the type is none of registry, local, s3, gcs, azblob",
		"type=gha":             "GitHub Actions is not supported: use a registry such as ghcr.io",
		"type=inline":          "there is no cache inside images",
		"type=registry":        `attribute "ref" is missing`,
		"type=registry,ref=a/b,registry.insecure=true": "use --insecure-registry",
		"type=registry,ref=a/b,ref=c/d":                `attribute "ref" is given twice`,
		"type=local":                                   `one of the attributes "src" and "dest" is needed`,
		"type=local,src=a,dest=b":                      `one of the attributes "src" and "dest" is needed`,
		"type=local,src=a,tag=latest":                  `attribute "tag" is unknown`,
		"type=local,src":                               "has no value",
		"type=s3,region=x":                             `attribute "bucket" is missing`,
		"type=s3,bucket=b,access_key_id=hush":          "use the environment",
		"type=s3,bucket=b,secret_access_key=hush":      "use the environment",
		"type=s3,bucket=b,blobs_prefix=x":              "the layout is fixed",
		"type=gcs":                                     `attribute "bucket" is missing`,
		`type=s3,"bucket`:                              "no list of name=value",
	} {
		t.Run(spec, func(t *testing.T) {
			s, err := location.Open(t.Context(), spec, location.Options{Registry: client(t)})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("opened %v, %v, without %q", s, err, want)
			}
			if strings.Contains(fmt.Sprint(err), "hush") {
				t.Errorf("the error has a secret in it: %v", err)
			}
		})
	}
}

// TestForeign finds caches of other programs where Slipway's should be.
func TestForeign(t *testing.T) {
	t.Run("an OCI layout", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, spec := range []string{dir, "oci:" + dir, "file://" + dir, "type=local,src=" + dir} {
			wantForeign(t, spec, "an OCI layout")
		}
	})
	host := distribution.ServeDeletable(t).Host
	s := open(t, host+"/app")
	config := cachetest.PutBlob(t, s, "application/vnd.buildkit.cacheconfig.v0", "{}")
	image := cachetest.PutBlob(t, s, types.OCIConfigJSON, `{"architecture":"amd64"}`)
	layer := cachetest.PutBlob(t, s, types.OCILayer, "a layer")
	inline := cachetest.PutBlob(t, s, types.OCIConfigJSON, `{"architecture":"amd64","moby.buildkit.cache.v0":"W10="}`)
	for tag, config := range map[string]v1.Descriptor{"buildcache": config, "image": image, "inline": inline} {
		raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			types.OCIManifestSchema1, config.MediaType, config.Digest, config.Size, layer.MediaType, layer.Digest, layer.Size)
		if err := s.PutManifest(t.Context(), tag, raw); err != nil {
			t.Fatal(err)
		}
	}
	wantForeign(t, "type=registry,ref="+host+"/app:buildcache,mode=max", "BuildKit's cache")
	wantForeign(t, host+"/app:buildcache", "BuildKit's cache")
	wantForeign(t, "type=registry,ref="+host+"/app:inline", "an image with BuildKit's inline cache")
	for _, spec := range []string{host + "/app", host + "/app:image", "type=registry,ref=" + host + "/app:none"} {
		if got := open(t, spec).String(); got != host+"/app" {
			t.Errorf("%s is %s", spec, got)
		}
	}
}

func wantForeign(t *testing.T, spec, what string) {
	t.Helper()
	_, err := location.Open(t.Context(), spec, location.Options{Registry: client(t)})
	var foreign *location.ForeignError
	if !errors.As(err, &foreign) || !strings.Contains(err.Error(), what) {
		t.Errorf("%s: %v", spec, err)
	}
}
