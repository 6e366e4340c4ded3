package pod_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
)

// parallelStages has three stages that do not depend on each other, and a last one that binds
// all of them. ROUND makes each build another one, with the same cache.
const parallelStages = `
FROM base AS one
ARG ROUND
RUN --mount=type=cache,id=rounds,target=/var/cache/rounds \
    mkdir /out && echo "round $ROUND" >>/var/cache/rounds/log && cp /var/cache/rounds/log /out/log && chmod 600 /out/log

FROM base AS two
RUN --mount=type=secret,id=token,target=/run/token,mode=0400,required \
    mkdir -m 2750 /out && sha256sum </run/token >/out/digest && chown -R demo:demo /out && chmod 4711 /out/digest

FROM base AS three
COPY file /src/
RUN --mount=type=bind,source=file,target=/mnt/context/file \
    mkdir -p /out/d && cp /mnt/context/file /out/d/a && ln /out/d/a /out/d/b && ln -s a /out/d/l && mkfifo /out/p && rm -r /src /home

FROM base
ARG ROUND
RUN --mount=type=bind,from=one,source=/out,target=/in/one \
    --mount=type=bind,from=two,source=/out,target=/in/two \
    --mount=type=bind,from=three,target=/in/three,rw \
    --mount=type=cache,id=rounds,target=/in/cache \
    --mount=type=secret,id=token,env=TOKEN \
    --mount=type=tmpfs,target=/in/memory \
    mkdir /result && cp -a /in/one /in/two /in/three/out /result && echo discarded >/in/three/new && echo x >/in/memory/x \
    && cat /in/cache/log >/result/cache && printf %s "$TOKEN" | sha256sum >/result/digest \
    && rm /etc/group && mv /usr/bin /usr/sbin && rm -r /tmp && mkdir -m 700 /tmp
`

const token = "a-secret-that-is-nowhere-else"

// The same build with each isolation: cross-stage binds, a cache and a secret give the same
// image, byte for byte, and leave nothing behind.
func TestParallelStages(t *testing.T) {
	needShell(t)
	described := make([][]string, len(backends()))
	digests := make([]string, len(backends()))
	t.Run("build", func(t *testing.T) {
		for i, b := range backends() {
			t.Run(b.shape.Name+" "+b.name, func(t *testing.T) {
				t.Parallel()
				described[i], digests[i] = buildParallelStages(t, b)
			})
		}
	})
	if t.Failed() {
		return
	}
	for i, b := range backends()[1:] {
		got := described[i+1]
		for n, line := range described[0] {
			if n >= len(got) || got[n] != line {
				t.Fatalf("entry %d differs: with namespace\n%s\nwith %s\n%s", n, line, b.name, strings.Join(got[min(n, len(got)):], "\n"))
			}
		}
		if len(described[0]) != len(got) {
			t.Errorf("with namespace %d entries, with %s %d", len(described[0]), b.name, len(got))
		}
		if digests[0] != digests[i+1] {
			t.Errorf("the entries are equal, but the digests are %s and, with %s, %s", digests[0], b.name, digests[i+1])
		}
	}
}

// buildParallelStages builds twice with one state directory, and describes the first image.
func buildParallelStages(t *testing.T, b backend) (lines []string, digest string) {
	t.Helper()
	spec, dir := slipwaySpec(t, b.shape, parallelStages, "--isolation="+b.name, "--source-date-epoch=1000000000",
		"--secret=id=token,src=/secret/token", "--build-arg=ROUND=1")
	secret := t.TempDir()
	write(t, filepath.Join(secret, "token"), token)
	spec.Volumes = append(spec.Volumes, pod.Volume{Path: "/secret", Host: secret, ReadOnly: true})
	state := spec.Volumes[0].Host

	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	sameAsBefore(t, result)
	image := readImage(t, dir)
	lines = describe(t, image)
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	names := ownNames(t, image)
	for _, name := range names {
		top, _, _ := strings.Cut(name, "/")
		if slices.Contains([]string{"in", "mnt", "run", "var", "proc", "sys", "dev", ".slipway"}, top) ||
			slices.Contains([]string{"etc/hosts", "etc/hostname", "etc/resolv.conf"}, name) {
			t.Errorf("of mounts, %s is left in the image", name)
		}
	}
	for _, want := range []string{"result/out/d/b", "etc/.wh.group", "usr/.wh.bin", "usr/sbin/", "tmp/"} {
		if !slices.Contains(names, want) {
			t.Errorf("the image lacks %s, it has %q", want, names)
		}
	}
	want := fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(token)))
	for _, name := range []string{"result/digest", "result/two/digest"} {
		if got := imageFile(t, image, name); got != want {
			t.Errorf("RUN saw another secret: %s holds %q, want %q", name, got, want)
		}
	}
	noSecret(t, result, state, dir)

	// The cache is the same directory for all stages, and outlives the build.
	if got := imageFile(t, image, "result/cache"); got != "round 1\n" {
		t.Errorf("the cache of another stage held %q", got)
	}
	if err := os.RemoveAll(dir); err != nil { // else the second image would join the first
		t.Fatal(err)
	}
	spec.Args[slices.Index(spec.Args, "--build-arg=ROUND=1")] = "--build-arg=ROUND=2"
	result = pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("second build: exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	sameAsBefore(t, result)
	image = readImage(t, dir)
	for _, name := range []string{"result/one/log", "result/cache"} {
		if got := imageFile(t, image, name); got != "round 1\nround 2\n" {
			t.Errorf("in the second build, %s holds %q", name, got)
		}
	}
	noSecret(t, result, state, dir)
	return lines, hash.String()
}

// noSecret expects the secret nowhere in what a build leaves: log, state directory, image.
func noSecret(t *testing.T, result pod.Result, state, image string) {
	t.Helper()
	if strings.Contains(result.Stdout+result.Stderr, token) {
		t.Error("the secret is in the log")
	}
	for _, dir := range []string{state, image} {
		if found := holding(t, dir, token); len(found) > 0 {
			t.Errorf("the secret is in %q", found)
		}
	}
	// The search does find what is there.
	if len(holding(t, state, "round 1\n")) == 0 || len(holding(t, image, "round 1\n")) == 0 {
		t.Error("the cache's content is not found in the state directory and in the image")
	}
}
