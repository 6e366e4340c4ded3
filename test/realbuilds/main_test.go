// Package realbuilds builds what people build in pods of Pod Security level "restricted": a compiler from Debian's packages and
// a program with it, a Go program with the Go toolchain, an npm project, an image with users, setuid programs and file
// capabilities. The layers have to be those that the isolation backend "namespace" makes.
package realbuilds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// bases are the images that the Dockerfiles call by these names: a minimal Debian with these packages.
func bases() map[string][]string {
	return map[string][]string{"debian": nil, "node": {"nodejs"}}
}

// machine is what all builds get of this machine.
type machine struct {
	bases        string // a directory with the base images, an OCI layout each
	certificates string // a directory with the file "certificates", of the authorities that this machine trusts
	goroot       string
	npm          string            // a directory with the file "npm.tgz"
	states       map[string]string // by backend, a state directory for all builds
}

// prepare makes what the builds need, or ends the test.
func prepare(t testing.TB) *machine {
	t.Helper()
	pod.Require(t)
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("the sandbox does not exist for " + runtime.GOARCH)
	}
	needTool(t, "mmdebstrap", "makes the base images")
	needTool(t, "npm", "downloads itself for the base image")
	binary, err := pod.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(testbin.Env, binary)
	m := &machine{bases: t.TempDir(), certificates: t.TempDir(), goroot: goroot(t), states: map[string]string{}}
	for _, b := range backends() {
		m.states[b.name] = pod.EmptyDir(t)
	}
	for name, packages := range bases() {
		if err := writeBase(t.Context(), filepath.Join(m.bases, name), packages); err != nil {
			t.Fatal(err)
		}
	}
	if err := testbase.Readable(m.bases); err != nil {
		t.Fatal(err)
	}
	m.npm = packNPM(t)
	if err := writeCertificates(filepath.Join(m.certificates, "certificates")); err != nil {
		t.Fatal(err)
	}
	return m
}

// goroot is where the Go toolchain of this machine lies.
func goroot(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// needTool skips a test, or ends it where all tools have to be there, if there is no such program.
func needTool(t testing.TB, name, use string) {
	t.Helper()
	_, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv(pod.RequireToolsEnv) != "":
		t.Fatalf("%s is not installed", name)
	default:
		t.Skipf("%s is not installed, which %s", name, use)
	}
}

// packNPM downloads npm and gives the directory of its archive.
func packNPM(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	archive, err := testbase.NPM(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(archive, filepath.Join(dir, "npm.tgz")); err != nil {
		t.Fatal(err)
	}
	if err := testbase.Readable(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeBase writes a base image.
func writeBase(ctx context.Context, dir string, packages []string) error {
	root, err := testbase.Debian(ctx, packages...)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(root)
	if err != nil {
		return err
	}
	config := v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	image, err := testbase.OCIImage(config, static.NewLayer(data, types.OCIUncompressedLayer))
	if err != nil {
		return err
	}
	return testbase.WriteLayout(dir, image)
}

// writeCertificates copies the authorities that this machine trusts, so that a RUN can ask the same servers.
func writeCertificates(path string) error {
	data, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what this machine trusts: %w", err)
	}
	return os.WriteFile(path, data, 0o644)
}
