package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/pkg/isolation"
)

// foreign is an architecture whose programs do not run here.
func foreign(t *testing.T) string {
	t.Helper()
	for _, architecture := range []string{"loong64", "s390x", "ppc64le", "mips64le"} {
		if isolation.CheckArchitecture(t.Context(), t.TempDir(), architecture) != nil {
			return architecture
		}
	}
	t.Skip("the kernel runs programs of all architectures")
	return ""
}

// watchedBase is registryWithBase with a base image for another architecture, and tells which
// blobs were asked for.
func watchedBase(t *testing.T, architecture string) (host, base, layer string, asked func() string) {
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
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture = architecture
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Push(t.Context(), "base/foreign:e2e", image); err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		t.Fatalf("the base has %d layers (%v)", len(layers), err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry.Host})
	var mu sync.Mutex
	var log strings.Builder
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		log.WriteString(r.Method + " " + r.URL.Path + "\n")
		mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	return host, host + "/base/foreign:e2e", digest.String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

// A RUN whose programs the kernel does not know is refused with its line, before a layer is
// fetched; COPY needs no such programs.
func TestForeignRunIsRefusedAtOnce(t *testing.T) {
	architecture := foreign(t)
	host, base, layer, asked := watchedBase(t, architecture)
	context := write(t, map[string]string{
		"Dockerfile": "ARG BASE\nFROM $BASE AS copied\nCOPY x /x\nFROM $BASE\n\nRUN echo hello >/hello\nCOPY --from=copied /bin /bin2\n",
		"x":          "x",
	})
	args := []string{"build", "--platform", "linux/" + architecture, "--build-arg", "BASE=" + base, "--insecure-registry", host, "--no-push", context}
	got := slipway(t, t.TempDir(), args...)
	if got.code != 77 || !strings.Contains(got.stderr, "Dockerfile:6: RUN for "+architecture+" on "+runtime.GOARCH) || !strings.Contains(got.stderr, "binfmt_misc") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	if log := asked(); strings.Contains(log, layer) || !strings.Contains(log, "/manifests/") {
		t.Errorf("the registry was asked for\n%s", log)
	}
	mustSlipway(t, t.TempDir(), append(args, "--target", "copied", "--oci-layout-path", "layout")...)
}

// A stage for the machine that builds makes what the image for another platform takes.
func TestBuildPlatformStageForForeignImage(t *testing.T) {
	needRoot(t)
	architecture := foreign(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{
		"Dockerfile": "ARG BASE\nFROM --platform=$BUILDPLATFORM $BASE AS build\nARG TARGETARCH BUILDARCH\nRUN echo $TARGETARCH on $BUILDARCH >/out\nFROM scratch\nCOPY --from=build /out /\n",
	})
	dir := t.TempDir()
	mustSlipway(t, dir, "build", "--platform", "linux/"+architecture+",linux/"+runtime.GOARCH, "--build-arg", "BASE="+base, "--insecure-registry", host,
		"--no-push", "-o", "type=local,dest=out", context)
	for _, a := range []string{architecture, runtime.GOARCH} {
		if got := read(t, filepath.Join(dir, "out", "linux_"+a, "out")); got != a+" on "+runtime.GOARCH+"\n" {
			t.Errorf("for %s: %q", a, got)
		}
	}
}

// emulate registers an emulator in a user namespace of its own, and executes its arguments there.
const emulate = `set -e
mount -t binfmt_misc none "$1"
printf '%s' ":slipway-test:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:$2:F" >"$1/register"
shift 2
exec "$@"
`

// TestEmulatedRun builds for arm64 on another architecture, with qemu registered in binfmt_misc for
// this test alone.
func TestEmulatedRun(t *testing.T) {
	needRoot(t)
	if runtime.GOARCH == "arm64" {
		t.Skip("arm64 needs no emulation here")
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Skip("qemu-aarch64-static is not installed")
	}
	context := write(t, map[string]string{
		"Dockerfile":    "FROM scratch\nCOPY tool /tool\nRUN [\"/tool\", \"/arch\"]\n",
		"src/go.mod":    "module example.com/tool\n",
		"src/tool.go":   "package main\n\nimport (\n\t\"os\"\n\t\"runtime\"\n)\n\nfunc main() {\n\tif err := os.WriteFile(os.Args[1], []byte(runtime.GOARCH), 0o644); err != nil {\n\t\tpanic(err)\n\t}\n}\n",
		".dockerignore": "src\n",
	})
	compile := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(context, "tool"), ".")
	compile.Dir = filepath.Join(context, "src")
	compile.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", emulate, "sh", t.TempDir(), qemu, shared.binary,
		"build", "--platform", "linux/arm64", "--no-push", "-o", "type=local,dest=out", "--state-dir", filepath.Join(dir, "state"), context)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "BUILDKIT_PROGRESS=plain"}
	ids := []syscall.SysProcIDMap{{HostID: 0, ContainerID: 0, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		if strings.Contains(errs.String(), "mount:") {
			t.Skipf("binfmt_misc cannot be mounted in a user namespace (Linux 6.7): %s", errs.String())
		}
		t.Fatalf("%v\n%s", err, errs.String())
	}
	if got := read(t, filepath.Join(dir, "out", "arch")); got != "arm64" {
		t.Errorf("the program ran as %q", got)
	}
}
