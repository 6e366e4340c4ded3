package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// warmedBuild has a base image with some MB in a registry and in a directory, and a context that reads all of it.
type warmedBuild struct {
	registry           *distribution.Registry
	base, dir, context string
}

func newWarmedBuild(t *testing.T) *warmedBuild {
	t.Helper()
	r := distribution.Serve(t)
	b := &warmedBuild{registry: r, base: bigBase(t, r.Host, 3<<20), dir: filepath.Join(t.TempDir(), "cache")}
	b.context = write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE AS base\nFROM $BASE\nCOPY --from=base / /copy/\n"})
	return b
}

// warm fetches the base image by the Dockerfile.
func (b *warmedBuild) warm(t *testing.T, flags ...string) outcome {
	t.Helper()
	return mustSlipway(t, t.TempDir(), append([]string{"cache", "warm", "--dockerfile", filepath.Join(b.context, "Dockerfile"),
		"--build-arg", "BASE=" + b.base, "--cache-dir", b.dir}, flags...)...)
}

// build builds with a new state directory, and gives the digest of the image and the paths that the registry was asked for.
func (b *warmedBuild) build(t *testing.T, base string, flags ...string) (digest string, asked []string, stderr string) {
	t.Helper()
	dir := t.TempDir()
	before := len(b.registry.Log())
	o := mustSlipway(t, dir, append([]string{"build", "--state-dir", filepath.Join(dir, "state"), "--build-arg", "BASE=" + base, "--source-date-epoch", "0",
		"-t", b.registry.Host + "/team/app:1", "--digest-file", filepath.Join(dir, "digest"), b.context}, flags...)...)
	return read(t, filepath.Join(dir, "digest")), requests(b.registry.Log()[before:], "GET"), o.stderr
}

// digest is that of the base image, as index.json of the directory has it.
func (b *warmedBuild) digest(t *testing.T) string {
	t.Helper()
	var index v1.IndexManifest
	if err := json.Unmarshal([]byte(read(t, filepath.Join(b.dir, "index.json"))), &index); err != nil {
		t.Fatal(err)
	}
	for _, d := range index.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == b.base {
			return d.Digest.String()
		}
	}
	t.Fatalf("index.json does not name %s", b.base)
	return ""
}

// of lists what begins so.
func of(asked []string, begin string) []string {
	var all []string
	for _, r := range asked {
		if strings.HasPrefix(r, begin) {
			all = append(all, r)
		}
	}
	return all
}

func TestWarmedBuildFetchesNoBlob(t *testing.T) {
	b := newWarmedBuild(t)
	cold, asked, _ := b.build(t, b.base)
	if len(of(asked, "GET /v2/base/big/blobs/")) < 3 {
		t.Fatalf("a build without the directory made the requests %q", asked)
	}
	b.warm(t)

	warm, asked, _ := b.build(t, b.base, "--cache-dir", b.dir)
	if warm != cold {
		t.Errorf("the image is %s with the directory and %s without", warm, cold)
	}
	if got := of(asked, "GET /v2/base/big/"); len(got) != 1 || got[0] != "GET /v2/base/big/manifests/e2e" {
		t.Errorf("of the base image, %q were asked for", got)
	}
	if got := of(asked, "GET /v2/team/app/blobs/"); len(got) != 0 {
		t.Errorf("blobs were fetched: %q", got)
	}

	_, asked, _ = b.build(t, b.base+"@"+b.digest(t), "--cache-dir", b.dir)
	if got := of(asked, "GET /v2/base/"); len(got) != 0 {
		t.Errorf("of the pinned base image, %q were asked for", got)
	}
}

// An image that no stage begins with is fetched, too.
func TestWarmedImageIsCopiedFrom(t *testing.T) {
	b := newWarmedBuild(t)
	b.context = write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY --from=" + b.base + " / /\n"})
	b.warm(t)
	_, asked, _ := b.build(t, b.base, "--cache-dir", b.dir)
	if got := of(asked, "GET /v2/base/big/"); len(got) != 1 || got[0] != "GET /v2/base/big/manifests/e2e" {
		t.Errorf("of the image, %q were asked for", got)
	}
}

func TestDamagedWarmedImage(t *testing.T) {
	b := newWarmedBuild(t)
	cold, _, _ := b.build(t, b.base)
	b.warm(t)
	blobs, err := filepath.Glob(filepath.Join(b.dir, "blobs/sha256/*"))
	if err != nil || len(blobs) < 4 {
		t.Fatalf("there are %d blobs, %v", len(blobs), err)
	}
	big := 0
	for _, blob := range blobs {
		content, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) < 3<<20 {
			continue
		}
		big++
		content[len(content)/2] ^= 1
		if err := os.WriteFile(blob, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if big != 1 {
		t.Fatalf("%d layers are big", big)
	}
	digest, asked, stderr := b.build(t, b.base, "--cache-dir", b.dir)
	if digest != cold {
		t.Errorf("the image is %s, and %s without the directory", digest, cold)
	}
	if got := of(asked, "GET /v2/base/big/blobs/"); len(got) != 1 {
		t.Errorf("the blobs %q were fetched, want the damaged one", got)
	}
	if n := strings.Count(stderr, "is passed over, and fetched from its registry"); n != 1 {
		t.Errorf("there are %d warnings:\n%s", n, stderr)
	}
	// The warmer repairs it.
	if o := b.warm(t); !strings.Contains(o.stderr, ", fetched 3") {
		t.Errorf("the warmer said %s", o.stderr)
	}
	if _, asked, _ = b.build(t, b.base, "--cache-dir", b.dir); len(of(asked, "GET /v2/base/big/blobs/")) != 0 {
		t.Errorf("blobs were fetched: %q", asked)
	}
}

// Warmers and a build use one directory at the same time.
func TestTwoWarmersAndABuildAtOnce(t *testing.T) {
	b := newWarmedBuild(t)
	cold, _, _ := b.build(t, b.base)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { b.warm(t, "--force") })
	}
	wg.Go(func() {
		if digest, _, _ := b.build(t, b.base, "--cache-dir", b.dir); digest != cold {
			t.Errorf("the image is %s, and %s without the directory", digest, cold)
		}
	})
	wg.Wait()
	if _, asked, _ := b.build(t, b.base, "--cache-dir", b.dir); len(of(asked, "GET /v2/base/big/blobs/")) != 0 {
		t.Errorf("blobs were fetched: %q", asked)
	}
	index, err := os.ReadFile(filepath.Join(b.dir, "index.json"))
	if err != nil || bytes.Count(index, []byte(b.base)) != 2 { // one image, with two annotations
		t.Errorf("index.json is %s, %v", index, err)
	}
}

func TestWarmFailures(t *testing.T) {
	b := newWarmedBuild(t)
	o := b.warm(t, "--image", b.registry.Host+"/none:1")
	if !strings.Contains(o.stderr, "1 of 2 base images could not be fetched") {
		t.Errorf("it said %s", o.stderr)
	}
	dir := t.TempDir()
	o = slipway(t, dir, "cache", "warm", "--cache-dir", dir, b.registry.Host+"/none:1", b.registry.Host+"/none:2")
	if o.code != 1 || strings.Count(o.stderr, ": fetching image") != 3 {
		t.Errorf("exit code %d, %s", o.code, o.stderr)
	}
	o = slipway(t, dir, "cache", "warm", "--cache-dir", dir, "--dockerfile", filepath.Join(b.context, "Dockerfile"))
	if o.code != 1 || !strings.Contains(o.stderr, ">>> FROM $BASE AS base") {
		t.Errorf("exit code %d, %s", o.code, o.stderr)
	}
}
