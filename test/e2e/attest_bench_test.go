package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// BenchmarkAttestedBuild builds on a minimal Debian, pulled anew each time, with a RUN of its package manager's database, without and
// with an SBOM, provenance and signatures with a key, by turns. The metric "ratio" is what the median build with all of that takes, where one
// without takes 1.
func BenchmarkAttestedBuild(b *testing.B) {
	needRoot(b)
	needTool(b, "mmdebstrap")
	host := distribution.Serve(b).Host
	base := debianBase(b, host)
	key, _ := signingKey(b)
	context := write(b, map[string]string{"Dockerfile": "ARG BASE\nFROM ${BASE}\nRUN dpkg-query -W > /packages && cp -r /usr/share/doc /doc\nCOPY f /f\n", "f": "x"})
	run := 0
	build := func(flags ...string) time.Duration {
		dir := b.TempDir()
		run++
		started := time.Now()
		mustSlipway(b, dir, append(append([]string{
			"build", "--build-arg", "BASE=" + base, "--state-dir", filepath.Join(dir, "state"), "--isolation", "namespace", "-t", fmt.Sprintf("%s/app:%d", host, run),
		}, flags...), context)...)
		return time.Since(started)
	}
	var plain, attested []time.Duration
	for b.Loop() {
		plain = append(plain, build())
		attested = append(attested, build("--sbom=true", "--provenance=true", "--attest-storage=both", "--sign=key", "--sign-key", key))
	}
	b.ReportMetric(median(plain).Seconds(), "s/plain")
	b.ReportMetric(median(attested).Seconds(), "s/attested")
	b.ReportMetric(median(attested).Seconds()/median(plain).Seconds(), "ratio")
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// debianBase pushes a minimal Debian, and gives its reference.
func debianBase(b *testing.B, host string) string {
	b.Helper()
	tar, err := testbase.Debian(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	layer, err := tarball.LayerFromFile(tar)
	if err != nil {
		b.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		b.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		b.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		b.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/debian:minbase")
	if err != nil {
		b.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		b.Fatal(err)
	}
	return ref.String()
}
