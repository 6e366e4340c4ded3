package e2e

import (
	"archive/tar"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase"
)

// pulled is an image in a registry on loopback.
func pulled(t *testing.T, ref string) v1.Image {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// manifestOf is the manifest of an image in a registry on loopback.
func manifestOf(t *testing.T, ref string) *v1.Manifest {
	t.Helper()
	m, err := pulled(t, ref).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const kanikoDockerfile = `ARG BASE
FROM $BASE AS first
COPY secret /secret
RUN echo one >/one && mkdir /cache && echo c >/cache/c
RUN rm /secret && cat /cache/c >/seen
FROM first AS other
RUN echo other >/other
FROM first
`

// One layer, without what is ignored and what was deleted, in Docker's media types: Kaniko's flags for images.
func TestKanikoImageFlags(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": kanikoDockerfile, "secret": "s"})
	cache := filepath.Join(t.TempDir(), "cache")
	below := len(manifestOf(t, base).Layers)
	var digests []v1.Hash
	for _, run := range []string{"built", "cached"} {
		t.Run(run, func(t *testing.T) {
			ref := host + "/kaniko/app:" + run
			mustSlipway(t, t.TempDir(), "-c", context, "-d", ref, "--build-arg", "BASE="+base, "--single-snapshot", "--ignore-path=/ca*", "--image-format=docker",
				"--cache", "--cache-repo", cache, "--snapshot-mode=redo", "--force")
			img := pulled(t, ref)
			m, err := img.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if m.MediaType != "application/vnd.docker.distribution.manifest.v2+json" || len(m.Layers) != below+1 {
				t.Errorf("media type %s, %d layers", m.MediaType, len(m.Layers))
			}
			digest, err := img.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if digests = append(digests, digest); digest != digests[0] {
				t.Errorf("the digest is %s, without a cache %s", digest, digests[0])
			}
			layers, err := img.Layers()
			if err != nil {
				t.Fatal(err)
			}
			got := tarNames(t, layers[len(layers)-1])
			for _, not := range []string{"secret", "cache/", "cache/c"} {
				if slices.Contains(got, not) {
					t.Errorf("the layer has %s", not)
				}
			}
			for _, want := range []string{"one", "seen", ".wh.secret"} {
				if !slices.Contains(got, want) {
					t.Errorf("the layer lacks %s: %q", want, got)
				}
			}
		})
	}
}

// The other targets are built and go nowhere.
func TestKanikoTargets(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": kanikoDockerfile, "secret": "s"})
	o := mustSlipway(t, t.TempDir(), "build", "--target", "first,other", "-d", host+"/kaniko/targets", "--build-arg", "BASE="+base, context)
	if !slices.Contains(executed(o.stderr), "RUN echo other >/other") {
		t.Errorf("the other target was not built:\n%s", o.stderr)
	}
	layers, err := pulled(t, host+"/kaniko/targets").Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if slices.Contains(tarNames(t, l), "other") {
			t.Error("the image has files of the other target")
		}
	}
	failing := slipway(t, t.TempDir(), "build", "--target", "first", "--target", "nothing", "--no-push", "--build-arg", "BASE="+base, context)
	if failing.code == 0 || !strings.Contains(failing.stderr, "nothing") {
		t.Errorf("a target that is not there: exit code %d\n%s", failing.code, failing.stderr)
	}
}

// A Dockerfile from a web server, the plan of a dry run, and the list of images for who started the build.
func TestKanikoOddities(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, kanikoDockerfile) }))
	defer web.Close()
	context, dir := write(t, map[string]string{"secret": "s"}), t.TempDir()
	args := []string{"--dockerfile", web.URL + "/Dockerfile", "--context", context, "--destination", host + "/kaniko/odd:1", "--destination", host + "/kaniko/odd:2", "--build-arg", "BASE=" + base}
	if o := mustSlipway(t, dir, append(args, "--dryrun")...); !strings.Contains(o.stdout, "RUN echo one") || len(executed(o.stderr)) > 0 {
		t.Errorf("the dry run shows\n%s\n%s", o.stdout, o.stderr)
	}
	o := slipwayIn(t, dir, []string{"BUILDER_OUTPUT=" + dir, "KANIKO_PRINT_PLAN=1", "FF_KANIKO_SQUASH_STAGES=1"},
		append(args, "--digest-file", filepath.Join(dir, "digest"), "--kaniko-dir=/k")...)
	if o.code != 0 || !strings.Contains(o.stdout, "RUN echo one") || !strings.Contains(o.stderr, "FF_KANIKO_SQUASH_STAGES: no effect") || !strings.Contains(o.stderr, "--kaniko-dir has no effect") {
		t.Errorf("shown:\n%s\n%s", o.stdout, o.stderr)
	}
	digest := read(t, filepath.Join(dir, "digest"))
	want := fmt.Sprintf("{\"name\":\"%[1]s/kaniko/odd:1\",\"digest\":\"%[2]s\"}\n{\"name\":\"%[1]s/kaniko/odd:2\",\"digest\":\"%[2]s\"}\n", host, digest)
	if got, err := os.ReadFile(filepath.Join(dir, "images")); string(got) != want || err != nil {
		t.Errorf("images are %q, %v, want %q", got, err, want)
	}
}

// tarNames lists what a layer's tar has.
func tarNames(t *testing.T, l v1.Layer) []string {
	t.Helper()
	var names []string
	if err := testbase.EachEntry(l, func(h *tar.Header, _ []byte) { names = append(names, h.Name) }); err != nil {
		t.Fatal(err)
	}
	return names
}
