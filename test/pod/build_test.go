package pod_test

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/test/pod"
)

// slipwaySpec is a pod that runs slipway over a Dockerfile in /context; "base" is an image with
// a shell, the state directory and the output lie on volumes.
func slipwaySpec(t *testing.T, shape pod.Shape, dockerfile string, flags ...string) (spec pod.Spec, out string) {
	t.Helper()
	context := t.TempDir()
	write(t, filepath.Join(context, "Dockerfile"), dockerfile)
	write(t, filepath.Join(context, "file"), "from the context\n")
	args := append([]string{
		"build", "--no-push", "--progress=plain", "--state-dir=/slipway-state", "--oci-layout-path=/workspace/image",
		"--build-context=base=oci-layout:///base",
	}, flags...)
	spec = pod.Slipway(t, shape, append(args, "/context")...)
	spec.DiffRoot = true
	out = pod.EmptyDir(t)
	spec.Volumes = []pod.Volume{
		{Path: "/slipway-state", Host: pod.EmptyDir(t)},
		{Path: "/workspace", Host: out},
		{Path: "/context", Host: context, ReadOnly: true},
		{Path: "/base", Host: shared.base, ReadOnly: true},
	}
	return spec, filepath.Join(out, "image")
}

// entries reads the layers of an image as lines "MODE UID:GID NAME", and the contents of
// its regular files.
func entries(t *testing.T, dir string) (lines []string, contents map[string]string) {
	t.Helper()
	contents = map[string]string{}
	eachEntry(t, readImage(t, dir), func(_ int, h *tar.Header, data []byte) {
		lines = append(lines, strings.Join([]string{h.FileInfo().Mode().String(), owner(h), h.Name}, " "))
		contents[h.Name] = string(data)
	})
	return lines, contents
}

func owner(h *tar.Header) string {
	names := map[int]string{0: "root", 1000: "demo"}
	return names[h.Uid] + ":" + names[h.Gid]
}

// threeStages needs RUN as root and as a user, in stages that depend on each other.
const threeStages = `
FROM base AS one
RUN mkdir /made && echo one > /made/by-root && chown -R demo:demo /made
USER demo
RUN echo user > /made/by-demo

FROM base AS two
COPY --from=one /made /got
RUN rm /etc/group && mkdir -p /result && cat /got/* > /result/all && chmod 700 /result

FROM scratch
COPY --from=two /result/ /result/
COPY --from=one --chown=1000 /made/by-root /
COPY file /
`

// A build with RUN works with namespaces wherever those can be made, in place in the plainest pod there
// is, and in the sandbox everywhere; none does anything to the container's own root filesystem.
func TestBuildWithRun(t *testing.T) {
	for _, c := range []struct {
		shape     pod.Shape
		isolation string
	}{
		{pod.Default(), "namespace"},
		{pod.UserNS(), "namespace"},
		{pod.Privileged(), "namespace"},
		{pod.ReadonlyRoot(), "namespace"},
		{pod.Default(), "auto"},
		{pod.Default(), "inplace"},
		{pod.Baseline(), "inplace"},
		{pod.Baseline(), "auto"},
		{pod.Restricted(), "sandbox"},
		{pod.Restricted(), "auto"},
		{pod.Baseline(), "sandbox"},
		{pod.Default(), "sandbox"},
		{pod.UserNS(), "sandbox"},
		{pod.ReadonlyRoot(), "sandbox"},
		{pod.Privileged(), "sandbox"},
	} {
		t.Run(c.shape.Name+" "+c.isolation, func(t *testing.T) {
			spec, image := slipwaySpec(t, c.shape, threeStages, "--isolation="+c.isolation)
			result := pod.Run(t, spec)
			if result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
			}
			sameAsBefore(t, result)
			lines, contents := entries(t, image)
			want := []string{
				"drwxr-xr-x root:root result/", "-rw-r--r-- root:root result/all",
				"-rw-r--r-- demo:demo by-root", "-rw-r--r-- root:root file",
			}
			if !slices.Equal(lines, want) {
				t.Errorf("the image holds\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
			for name, text := range map[string]string{"result/all": "user\none\n", "by-root": "one\n", "file": "from the context\n"} {
				if contents[name] != text {
					t.Errorf("%s holds %q, want %q", name, contents[name], text)
				}
			}
		})
	}
}

// What was unpacked for a RUN in the container's root stays there, and nothing else; with --cleanup, nothing does.
func TestCleanup(t *testing.T) {
	for _, flags := range [][]string{nil, {"--cleanup"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			spec, _ := slipwaySpec(t, pod.Baseline(), "FROM base\nRUN echo x >/made\n", append(flags, "--isolation=inplace")...)
			result := pod.Run(t, spec)
			if result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
			}
			sameAsBefore(t, result)
			left := slices.ContainsFunc(result.RootDiff, func(c pod.Change) bool { return strings.HasSuffix(c.Path, "/made") })
			if cleaned := len(flags) > 0; left == cleaned || cleaned && len(result.RootDiff) > 0 {
				t.Errorf("changed in the container's root: %v", result.RootDiff)
			}
		})
	}
}

// A build without RUN needs nothing of the pod.
func TestBuildWithoutRun(t *testing.T) {
	for _, shape := range pod.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			spec, image := slipwaySpec(t, shape, "FROM base\nCOPY --chown=demo --chmod=0640 file /copied\n")
			result := pod.Run(t, spec)
			if result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
			}
			sameAsBefore(t, result)
			lines, contents := entries(t, image)
			if last := lines[len(lines)-1]; last != "-rw-r----- demo:demo copied" || contents["copied"] != "from the context\n" {
				t.Errorf("the image ends with %s, which holds %q", last, contents["copied"])
			}
		})
	}
}

// Where namespaces are forbidden, asking for them ends with the exit code for a missing permission, and
// the message names it.
func TestRunRefused(t *testing.T) {
	for _, test := range []struct {
		shape pod.Shape
		want  string
	}{
		{pod.Baseline(), "seccompProfile.type: Unconfined"},
		{pod.Restricted(), "the capabilities SETUID, SETGID, SETFCAP"},
	} {
		t.Run(test.shape.Name, func(t *testing.T) {
			spec, image := slipwaySpec(t, test.shape, threeStages, "--isolation=namespace")
			result := pod.Run(t, spec)
			if result.ExitCode != 77 {
				t.Errorf("exit code %d", result.ExitCode)
			}
			if !strings.Contains(result.Stderr, test.want) {
				t.Errorf("the message does not say %q:\n%s", test.want, result.Stderr)
			}
			sameAsBefore(t, result)
			noImage(t, image)
		})
	}
}

// An overlay cannot be mounted on the container's own root filesystem; the message says what would help.
func TestStateOnOwnRoot(t *testing.T) {
	spec, _ := slipwaySpec(t, pod.Default(), threeStages, "--isolation=namespace")
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v pod.Volume) bool { return v.Path == "/slipway-state" })
	result := pod.Run(t, spec)
	if result.ExitCode != 77 || !strings.Contains(result.Stderr, "must lie on a volume") {
		t.Errorf("exit code %d\n%s", result.ExitCode, result.Stderr)
	}
}

// What kubelet does to end a pod.
func TestTerminate(t *testing.T) {
	for _, c := range []struct {
		shape     pod.Shape
		isolation string
	}{
		{pod.Default(), "namespace"}, {pod.UserNS(), "namespace"}, {pod.Privileged(), "namespace"}, {pod.Baseline(), "inplace"},
	} {
		t.Run(c.shape.Name, func(t *testing.T) {
			spec, image := slipwaySpec(t, c.shape, "FROM base\nRUN echo now it$(echo sleeps); sleep 100\n", "--isolation="+c.isolation)
			p := pod.Start(t, spec)
			p.Expect("now itsleeps")
			p.Signal(syscall.SIGTERM)
			result := p.Wait()
			if result.ExitCode != 128+int(syscall.SIGTERM) {
				t.Errorf("exit code %d\n%s", result.ExitCode, result.Stderr)
			}
			sameAsBefore(t, result)
			noImage(t, image)
		})
	}
}

// A base image out of a registry, and the result into it.
func TestRegistry(t *testing.T) {
	registry, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	}()
	context := t.TempDir()
	write(t, filepath.Join(context, "Dockerfile"), "FROM "+registry.Host+"/base:1\nRUN echo run > /made\n")
	base, err := layout.ImageIndexFromPath(shared.base)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := base.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := base.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Push(t.Context(), "base:1", image); err != nil {
		t.Fatal(err)
	}
	spec := pod.Slipway(t, pod.Default(), "build", "--progress=plain", "--state-dir=/slipway-state", "--tag="+registry.Host+"/made:1", "/context")
	spec.HostNetwork = true
	spec.Volumes = []pod.Volume{
		{Path: "/slipway-state", Host: pod.EmptyDir(t)},
		{Path: "/context", Host: context, ReadOnly: true},
	}
	if result := pod.Run(t, spec); result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", result.ExitCode, result.Stderr)
	}
	ref, err := name.ParseReference(registry.Host + "/made:1")
	if err != nil {
		t.Fatal(err)
	}
	made, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(made); err != nil {
		t.Error(err)
	}
	if layers, err := made.Layers(); err != nil || len(layers) != 2 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
}

func TestSlipwayRootfs(t *testing.T) {
	pod.Require(t)
	rootfs := pod.SlipwayRootfs(t)
	if again := pod.SlipwayRootfs(t); again != rootfs {
		t.Errorf("made twice: %s, %s", rootfs, again)
	}
	for name, mode := range map[string]os.FileMode{
		"tmp":                   os.ModeDir | os.ModeSticky | 0o777,
		"slipway":               os.ModeDir | os.ModeSticky | 0o777,
		"kaniko/.docker":        os.ModeDir | os.ModeSticky | 0o777,
		"kaniko/ssl/certs":      os.ModeDir | os.ModeSticky | 0o777,
		"kaniko/executor":       os.ModeSymlink | 0o777,
		"kaniko/warmer":         os.ModeSymlink | 0o777,
		"etc/passwd":            0o644,
		"etc/slipway-image":     0o644,
		"usr/local/bin/slipway": 0o755,
	} {
		info, err := os.Lstat(filepath.Join(rootfs, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	if _, err := os.Lstat(filepath.Join(rootfs, "busybox")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("busybox is there although nobody asked: %v", err)
	}
	spec := pod.Slipway(t, pod.Default())
	spec.Rootfs, spec.Args = pod.SlipwayDebugRootfs(t), []string{"sh", "-c", "ls /"}
	result := pod.Run(t, spec)
	if result.ExitCode != 0 || !strings.Contains(result.Stdout, "busybox\n") {
		t.Errorf("exit code %d: %s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
}
