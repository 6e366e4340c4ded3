package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// needTool skips a test without a tool, except where all tools must be there.
func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("SLIPWAY_REQUIRE_TOOLS") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
}

// needRoot skips a test that runs RUN with the namespace backend, or keeps owners of files.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// tool runs another program that must succeed, and gives its output.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	needTool(t, name)
	cmd := exec.CommandContext(t.Context(), name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.Bytes())
	}
	return string(out)
}

// outcome is how a run of slipway ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// slipway runs the binary in dir with a small environment.
func slipway(t testing.TB, dir string, args ...string) outcome {
	t.Helper()
	return slipwayIn(t, dir, nil, args...)
}

// slipwayIn has further variables, NAME=VALUE, in its environment.
func slipwayIn(t testing.TB, dir string, env []string, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shared.binary, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SLIPWAY_STATE_DIR=" + shared.state, "BUILDKIT_PROGRESS=plain"}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// mustSlipway runs the binary and expects success.
func mustSlipway(t testing.TB, dir string, args ...string) outcome {
	t.Helper()
	o := slipway(t, dir, args...)
	if o.code != 0 {
		t.Fatalf("slipway %s: exit code %d\n%s%s", strings.Join(args, " "), o.code, o.stdout, o.stderr)
	}
	return o
}

// mustIsolate runs the binary with an isolation and expects success. It is run on this machine, and for inplace, which takes the
// root filesystem for RUN, in a pod that cannot make namespaces. dirs are directories by the names that args have for
// them, as $NAME.
func mustIsolate(t testing.TB, isolation string, dirs map[string]string, args ...string) {
	t.Helper()
	const volumes = "/volumes/"
	all := []string{}
	for _, a := range append(args, "--isolation="+isolation) {
		all = append(all, os.Expand(a, func(name string) string {
			if isolation == "inplace" {
				return volumes + name
			}
			return dirs[name]
		}))
	}
	if isolation != "inplace" {
		mustSlipway(t, t.TempDir(), all...)
		return
	}
	t.Setenv(testbin.Env, shared.binary)
	spec := pod.Slipway(t, pod.Baseline(), all...)
	spec.HostNetwork = true // where the registry is
	for name, dir := range dirs {
		spec.Volumes = append(spec.Volumes, pod.Volume{Path: volumes + name, Host: dir})
	}
	if o := pod.Run(t, spec); o.ExitCode != 0 {
		t.Fatalf("slipway %s in a pod: exit code %d\n%s%s", strings.Join(all, " "), o.ExitCode, o.Stdout, o.Stderr)
	}
}

// registryWithBase starts a registry and pushes a base image; it gives its host and the
// image's reference.
func registryWithBase(t *testing.T) (host, base string) {
	t.Helper()
	registry, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	image, err := shared.base.Image()
	if err != nil {
		t.Fatal(err)
	}
	base, err = registry.Push(t.Context(), "base/busybox:e2e", image)
	if err != nil {
		t.Fatal(err)
	}
	return registry.Host, base
}

// write makes files below a new directory; a path that ends in "/" is an empty directory.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read gives the content of a file.
func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// digestOf is the digest of what a reference names.
func digestOf(t testing.TB, ref string) string {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return desc.Digest.String()
}
