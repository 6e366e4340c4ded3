package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// bigBase pushes the base image with some MB more on top, and gives its reference.
func bigBase(t testing.TB, host string, size int) string {
	t.Helper()
	image, err := shared.base.Image()
	if err != nil {
		t.Fatal(err)
	}
	// One file, of bytes that do not compress.
	content := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	image, err = mutate.AppendLayers(image, static.NewLayer(tarOf(t, "opt/big", content), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/base/big:e2e")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// tarOf is an archive of one file.
func tarOf(t testing.TB, path string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// step is a line of plain progress that tells what became of a step.
var step = regexp.MustCompile(`(?m)^#(\d+) (\[[^\n]*|CACHED|DONE [^\n]*|ERROR[^\n]*)$`)

// executed lists the instructions that a build executed, as opposed to those that it found, sorted. ADD
// is left out: a step of that name asks the server in any case.
func executed(stderr string) []string {
	names, done := map[string]string{}, map[string]bool{}
	for _, m := range step.FindAllStringSubmatch(stderr, -1) {
		switch id, what := m[1], m[2]; {
		case strings.HasPrefix(what, "["):
			_, names[id], _ = strings.Cut(what, "] ")
		case strings.HasPrefix(what, "DONE"):
			done[id] = true
		}
	}
	var all []string
	for id := range done {
		word, _, _ := strings.Cut(names[id], " ")
		if slices.Contains([]string{"RUN", "COPY", "WORKDIR"}, word) {
			all = append(all, names[id])
		}
	}
	slices.Sort(all)
	return all
}

// twentySteps is a Dockerfile of three stages, which executes so many steps.
const twentySteps = `ARG BASE
FROM $BASE AS compile
WORKDIR /src
COPY names.txt .
RUN mkdir -p /out && echo 1 >/out/1
RUN date >/out/2
RUN date >/out/3
COPY lib lib
RUN cat lib/x names.txt >/out/4
FROM $BASE AS assets
WORKDIR /assets
RUN date >a
RUN date >b
COPY --chmod=600 names.txt c
RUN --mount=type=bind,from=compile,source=/out,target=/in cat /in/* >d
FROM $BASE
ENV GREETING=hello
WORKDIR /app
COPY --from=compile /out out
COPY --from=assets /assets assets
COPY --link lib lib
RUN ls -R . >list
RUN date >when
USER demo
RUN id >/tmp/id
RUN cat list /tmp/id >/tmp/all
LABEL maintainer=me
`

// The second build, on another machine and from another checkout, costs manifests only and gives the
// same image.
func TestFullyCachedBuild(t *testing.T) {
	needRoot(t)
	registry := distribution.Serve(t)
	host, log := registry.Host, registry.Log
	base := bigBase(t, host, 32<<20)
	files := map[string]string{"Dockerfile": twentySteps, "names.txt": "a\nb\n", "lib/x": "x", "lib/y/z": "z"}
	build := func(tag string) (digest string, o outcome) {
		t.Helper()
		context, dir := write(t, files), t.TempDir()
		// Checkouts have the time and owner of whoever makes them.
		at := time.Now().Add(-time.Duration(rand.IntN(1e9)) * time.Microsecond)
		for name := range files {
			if err := os.Lchown(filepath.Join(context, name), rand.IntN(60000), 7); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(context, name), at, at); err != nil {
				t.Fatal(err)
			}
		}
		o = mustSlipway(t, dir, "build", "--cache", "--cache-repo", host+"/team/cache", "--build-arg", "BASE="+base, "--state-dir", filepath.Join(dir, "state"),
			"--isolation", "namespace", "-t", host+"/team/app:"+tag, "--digest-file", "digest", context)
		return read(t, filepath.Join(dir, "digest")), o
	}
	first, cold := build("first")
	if n := len(executed(cold.stderr)); n != 20 {
		t.Errorf("the first build executed %d steps:\n%s", n, cold.stderr)
	}
	before := len(log())
	second, warm := build("second")
	if first != second {
		t.Errorf("the images differ: %s and %s", first, second)
	}
	if got := executed(warm.stderr); len(got) > 0 {
		t.Errorf("executed again: %q", got)
	}
	var fetched int
	for _, path := range requests(log()[before:], "GET") {
		if strings.Contains(path, "/blobs/") {
			fetched++
		}
	}
	// The base image's config.
	if fetched != 1 {
		t.Errorf("%d blobs were fetched: %q", fetched, requests(log()[before:], "GET"))
	}
	if sent := requests(log()[before:], "PATCH"); len(sent) > 0 {
		t.Errorf("blobs were sent: %q", sent)
	}
	layout := filepath.Join(t.TempDir(), "fetched")
	tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+host+"/team/app:second", "oci:"+layout+":app")
	verifyLayout(t, layout)
}

// What counts in keys and what does not.
func TestCacheKeys(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	downloaded := "first"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, downloaded) }))
	defer server.Close()
	const dockerfile = `ARG BASE
FROM $BASE AS one
ARG USED
ARG UNUSED
RUN echo $USED >/used
FROM $BASE AS two
COPY a b /dir/
ADD URL /downloaded
RUN --mount=type=secret,id=token cat /run/secrets/token >/dev/null; echo secret
FROM $BASE
COPY --from=one /used /
COPY --from=two /dir /dir
`
	swapped := func(s string) string {
		one, two := strings.Index(s, "FROM $BASE AS one"), strings.Index(s, "FROM $BASE AS two")
		last := strings.LastIndex(s, "FROM $BASE")
		return s[:one] + s[two:last] + s[one:two] + s[last:]
	}
	download := "ADD " + server.URL + "/file /downloaded"
	copyAll := []string{"COPY --from=two /dir /dir"}
	secret := "RUN --mount=type=secret,id=token cat /run/secrets/token >/dev/null; echo secret"
	for name, test := range map[string]struct {
		change   func(files map[string]string, args *[]string)
		executed []string
	}{
		"nothing":                      {func(map[string]string, *[]string) {}, nil},
		"a used argument":              {func(_ map[string]string, args *[]string) { *args = append(*args, "--build-arg=USED=2") }, []string{"COPY --from=one /used /", copyAll[0], "RUN echo 2 >/used"}},
		"an argument that nobody uses": {func(_ map[string]string, args *[]string) { *args = append(*args, "--build-arg=NOBODY=2") }, nil},
		"the value of a secret":        {func(files map[string]string, _ *[]string) { files["token"] = "other" }, nil},
		"a proxy":                      {func(_ map[string]string, args *[]string) { *args = append(*args, "--build-arg=HTTPS_PROXY=http://x") }, nil},
		"the order of stages":          {func(files map[string]string, _ *[]string) { files["Dockerfile"] = swapped(files["Dockerfile"]) }, nil},
		"what is downloaded":           {func(map[string]string, *[]string) { downloaded = "second" }, []string{secret}},
		"the context":                  {func(files map[string]string, _ *[]string) { files["b"] = "other" }, []string{"COPY a b /dir/", copyAll[0], secret}},
		"a comment":                    {func(files map[string]string, _ *[]string) { files["Dockerfile"] = "# hello\n" + files["Dockerfile"] }, nil},
		"the name of a stage": {func(files map[string]string, _ *[]string) {
			files["Dockerfile"] = strings.ReplaceAll(strings.ReplaceAll(files["Dockerfile"], "AS one", "AS first"), "=one", "=first")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			downloaded = "first"
			files := map[string]string{"Dockerfile": strings.Replace(dockerfile, "ADD URL /downloaded", download, 1), "a": "a", "b": "b", "token": "secret"}
			args := []string{"build", "--cache-from", host + "/keys", "--cache-to", host + "/keys", "--build-arg", "BASE=" + base, "--build-arg", "USED=1", "--isolation", "namespace", "--no-push"}
			build := func(files map[string]string, args []string) []string {
				t.Helper()
				context := write(t, files)
				o := mustSlipway(t, t.TempDir(), append(args, "--secret", "id=token,src="+filepath.Join(context, "token"), context)...)
				return executed(o.stderr)
			}
			build(files, args)
			changed := maps.Clone(files)
			test.change(changed, &args)
			got := build(changed, args)
			slices.Sort(test.executed)
			// The copy into the target counts by what it copies.
			if !slices.Equal(got, test.executed) {
				t.Errorf("executed %q, expected %q", got, test.executed)
			}
		})
	}
}

// With SOURCE_DATE_EPOCH, what is in the cache makes no difference either, whichever it was filled
// with.
func TestCacheAndEpoch(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nCOPY a /\nRUN echo b >/b\nWORKDIR /c\n", "a": "a"})
	build := func(args ...string) string {
		t.Helper()
		dir := t.TempDir()
		mustSlipway(t, dir, append([]string{"build", "--build-arg", "BASE=" + base, "--isolation", "namespace", "-t", host + "/epoch/app", "--digest-file", "digest", context}, args...)...)
		return read(t, filepath.Join(dir, "digest"))
	}
	cached := []string{"--cache", "--cache-repo", host + "/epoch/cache"}
	for _, args := range [][]string{
		{"--source-date-epoch=1700000000"}, {"--source-date-epoch=1600000000"}, {"--source-date-epoch=1700000000", "--compression=zstd"},
		{"--source-date-epoch=1700000000"}, {"--source-date-epoch=1750000000"}, {"--source-date-epoch=1750000000", "--compression=none"},
	} {
		if with, without := build(append(args, cached...)...), build(args...); with != without {
			t.Errorf("%q: with cache %s, without %s", args, with, without)
		}
	}
}

// A cache that does not answer costs a warning.
func TestUnreachableCache(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nRUN echo b >/b\nRUN echo c >/c\n"})
	for name, tt := range map[string]struct {
		repo     string
		warnings int
	}{
		"nobody listens":  {unusedAddress(t) + "/cache", 2}, // reading and writing
		"not a registry":  {strings.TrimPrefix(teapot(t), "http://") + "/cache", 2},
		"not a directory": {filepath.Join(context, "Dockerfile"), 1},
		"cannot be made":  {"/proc/no/cache", 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := mustSlipway(t, t.TempDir(), "build", "--cache", "--cache-repo", tt.repo, "--build-arg", "BASE="+base, "-t", host+"/app", context)
			if n := strings.Count(o.stderr, "the build goes on without"); n != tt.warnings {
				t.Errorf("%d warnings:\n%s", n, o.stderr)
			}
		})
	}
}

// teapot is a server that is no registry.
func teapot(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(server.Close)
	return server.URL
}

// A failed build has kept what succeeded.
func TestFailedBuildIsCached(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	args := []string{"build", "--cache", "--cache-repo", host + "/failed", "--build-arg", "BASE=" + base, "--no-push"}
	failing := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nRUN echo b >/b\nRUN false\n"})
	if o := slipway(t, t.TempDir(), append(args, failing)...); o.code != 1 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	mended := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nRUN echo b >/b\nRUN true\n"})
	o := mustSlipway(t, t.TempDir(), append(args, mended)...)
	if got := executed(o.stderr); !slices.Equal(got, []string{"RUN true"}) {
		t.Errorf("executed %q", got)
	}
}

// A cache mount is there again on another machine, by its id, and only what changed travels.
func TestCacheMountsSurvive(t *testing.T) {
	for _, isolation := range []string{"namespace", "inplace"} {
		t.Run(isolation, func(t *testing.T) {
			needRoot(t)
			host, base := registryWithBase(t)
			cache := t.TempDir()
			build := func(word string, mounts ...string) string {
				t.Helper()
				dirs := map[string]string{"STATE": t.TempDir(), "OUT": t.TempDir(), "CACHE": cache}
				dirs["CONTEXT"] = write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nARG WORD\n" +
					"RUN --mount=type=cache,target=/c,id=words echo $WORD >>/c/words; cat /c/words >/words\n"})
				args := []string{"build", "--build-arg", "BASE=" + base, "--build-arg", "WORD=" + word, "--insecure-registry", host,
					"--cache", "--cache-repo", "$CACHE", "--state-dir", "$STATE", "--output", "type=local,dest=$OUT", "$CONTEXT"}
				for _, m := range mounts {
					args = append(args, "--cache-mounts", m)
				}
				mustIsolate(t, isolation, dirs, args...)
				return strings.Join(strings.Fields(read(t, filepath.Join(dirs["OUT"], "words"))), " ")
			}
			for _, step := range []struct {
				word   string
				mounts []string
				want   string
			}{
				{"one", []string{"both"}, "one"},
				{"two", []string{"both"}, "one two"},
				{"three", []string{"restore"}, "one two three"},
				{"four", []string{"off", "words=both"}, "one two four"},
				{"five", nil, "five"},
				{"six", []string{"both", "words=save"}, "six"},
				{"seven", []string{"both"}, "six seven"},
			} {
				if got := build(step.word, step.mounts...); got != step.want {
					t.Errorf("%s with %q: the cache mount has %q, expected %q", step.word, step.mounts, got, step.want)
				}
			}
		})
	}
}
