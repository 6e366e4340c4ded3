package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
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

// BenchmarkFullyCachedBuild builds what the cache has, on a base of 400 MB, with a new state directory
// each time: the Dockerfile of TestFullyCachedBuild.
func BenchmarkFullyCachedBuild(b *testing.B) {
	needRoot(b)
	host := distribution.Serve(b).Host
	base := bigBase(b, host, 400<<20)
	context := write(b, map[string]string{"Dockerfile": twentySteps, "names.txt": "a\nb\n", "lib/x": "x", "lib/y/z": "z"})
	build := func() {
		dir := b.TempDir()
		mustSlipway(b, dir, "build", "--cache", "--cache-repo", host+"/team/cache", "--build-arg", "BASE="+base, "--state-dir", filepath.Join(dir, "state"),
			"--isolation", "namespace", "-t", host+"/team/app", context)
	}
	started := time.Now()
	build()
	cold := time.Since(started)
	for b.Loop() {
		build()
	}
	b.ReportMetric(cold.Seconds(), "s/cold")
}

// BenchmarkCacheMount builds a Go program with an empty cache mount, and then, with other source and a new state
// directory, with what the first build has left in the cache. The metric "faster" is the ratio.
func BenchmarkCacheMount(b *testing.B) {
	needRoot(b)
	host := distribution.Serve(b).Host
	base := goBase(b, host)
	source := func(word string) string {
		return write(b, map[string]string{
			"go.mod": "module example.com/app\n\ngo 1.26\n",
			"main.go": "package main\n\nimport (\n\t\"encoding/json\"\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc main() { fmt.Println(\"" + word +
				"\", http.StatusText(200), json.Valid(nil)) }\n",
			"Dockerfile": "ARG BASE\nFROM $BASE\nENV PATH=/usr/local/go/bin:/bin HOME=/root CGO_ENABLED=0\nWORKDIR /src\nCOPY . .\n" +
				"RUN --mount=type=cache,target=/root/.cache/go-build go build -o /app .\nRUN /app\n",
		})
	}
	build := func(cache, word string) time.Duration {
		dir := b.TempDir()
		started := time.Now()
		mustSlipway(b, dir, "build", "--cache", "--cache-repo", cache, "--cache-mounts", "both", "--build-arg", "BASE="+base, "--state-dir", filepath.Join(dir, "state"),
			"--isolation", "namespace", "--no-push", source(word))
		return time.Since(started)
	}
	var first, second time.Duration
	for b.Loop() {
		cache := filepath.Join(b.TempDir(), "cache")
		first += build(cache, "one")
		second += build(cache, "two")
	}
	b.ReportMetric(first.Seconds()/float64(b.N), "s/first")
	b.ReportMetric(second.Seconds()/float64(b.N), "s/second")
	b.ReportMetric(first.Seconds()/second.Seconds(), "faster")
}

// goBase pushes the base image with the Go distribution of the machine, and gives its reference.
func goBase(b *testing.B, host string) string {
	b.Helper()
	image, err := shared.base.Image()
	if err != nil {
		b.Fatal(err)
	}
	image, err = mutate.AppendLayers(image, static.NewLayer(tarOfDir(b, strings.TrimSpace(tool(b, "go", "env", "GOROOT")), "usr/local/go"), types.OCIUncompressedLayer))
	if err != nil {
		b.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/base/go:e2e")
	if err != nil {
		b.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(b.Context())); err != nil {
		b.Fatal(err)
	}
	return ref.String()
}

// tarOfDir is an archive of a directory, below another path, without tests and their data.
func tarOfDir(b *testing.B, dir, below string) []byte {
	b.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "test"):
			return filepath.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: below + "/" + rel, Mode: int64(info.Mode().Perm()), Size: int64(len(data)), ModTime: info.ModTime()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
