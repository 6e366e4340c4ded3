package pod_test

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// account is who may use the registry of these tests.
const user, password = "builder", "opensesame"

// registryWithLogin is a registry on loopback that only one account may use, with a base image; it gives its
// host. Its port is not the default of anything, and it has no TLS.
func registryWithLogin(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(testbase.WithLogin(user, password, registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	program, err := testbase.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := program.Image()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/base/os:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: user, Password: password})); err != nil {
		t.Fatal(err)
	}
	return host
}

// sourceVolume is a checkout with a Dockerfile that takes its base image from host.
func sourceVolume(t *testing.T, host string) string {
	t.Helper()
	source := pod.EmptyDir(t)
	write(t, filepath.Join(source, "Dockerfile"), "FROM "+host+"/base/os:1\nCOPY --chown=1000 file /srv/\nRUN echo built >/built && chown 1000 /built\n")
	write(t, filepath.Join(source, "file"), "from the context\n")
	return source
}

// dockerConfig is a volume with the registry's login.
func dockerConfig(t *testing.T, host string) string {
	t.Helper()
	dir := pod.EmptyDir(t)
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	write(t, filepath.Join(dir, "config.json"), fmt.Sprintf(`{"auths":{"%s":{"auth":"%s"}}}`, host, auth))
	return dir
}

// succeeded runs a pod.
func succeeded(t *testing.T, spec pod.Spec) pod.Result {
	t.Helper()
	spec.HostNetwork = true
	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	if strings.Contains(result.Stdout+result.Stderr, password) {
		t.Error("the log has the password")
	}
	return result
}

// pushed is what the registry has.
func pushed(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// contentsOf are the contents of all files in an image's layers.
func contentsOf(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	contents := map[string]string{}
	eachEntry(t, image, func(_ int, h *tar.Header, data []byte) { contents[h.Name] = string(data) })
	return contents
}

// isBuilt checks the layers of sourceVolume's Dockerfile.
func isBuilt(t *testing.T, image v1.Image) {
	t.Helper()
	contents := contentsOf(t, image)
	for file, want := range map[string]string{"srv/file": "from the context\n", "built": "built\n"} {
		if contents[file] != want {
			t.Errorf("%s has %q, want %q", file, contents[file], want)
		}
	}
}

// The arguments of the Tekton catalog's kaniko Task, version 0.7: the image's own entrypoint, the logins as
// a workspace at /kaniko/.docker, the digest as a result.
func TestManifestOfTektonCatalog(t *testing.T) {
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			host := registryWithLogin(t)
			results := pod.EmptyDir(t)
			spec := pod.Slipway(t, shape)
			spec.Args = append(entrypointOf(t), "--dockerfile=./Dockerfile", "--context=/workspace/source/./",
				"--destination="+host+"/team/app:1", "--digest-file=/tekton/results/IMAGE_DIGEST")
			spec.Dir = "/workspace/source"
			spec.Volumes = []pod.Volume{
				{Path: "/workspace/source", Host: sourceVolume(t, host)}, {Path: "/tekton/results", Host: results},
				{Path: "/kaniko/.docker", Host: dockerConfig(t, host), ReadOnly: true},
			}
			succeeded(t, spec)
			image := pushed(t, host+"/team/app:1")
			isBuilt(t, image)
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(results, "IMAGE_DIGEST")); string(got) != digest.String() || err != nil {
				t.Errorf("the result is %q, %v, want %s", got, err, digest)
			}
		})
	}
}

// entrypointOf is the ENTRYPOINT of slipway's Dockerfile.
func entrypointOf(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ENTRYPOINT \["([^"]+)"\]$`).FindStringSubmatch(ownDockerfile(t))
	if m == nil {
		t.Fatal("the Dockerfile has no ENTRYPOINT")
	}
	return m[1:]
}

func ownDockerfile(t *testing.T) string {
	t.Helper()
	text, err := testbin.Dockerfile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The environment that pods of tests get is that of the image.
func TestEnvironmentOfImage(t *testing.T) {
	want := "ENV " + strings.Join(pod.SlipwayEnv(), " ") + "\n"
	if !strings.Contains(ownDockerfile(t), want) {
		t.Errorf("the Dockerfile does not have %q", want)
	}
}

// A job as GitLab's manual has it: the shell of the debug image writes the logins and calls the executor by its path.
// GitLab's runner starts it through the first shell that it finds.
func TestManifestOfGitLab(t *testing.T) {
	const script = `set -eo pipefail
mkdir -p /kaniko/.docker
echo "{\"auths\":{\"${CI_REGISTRY}\":{\"auth\":\"$(printf "%s:%s" "${CI_REGISTRY_USER}" "${CI_REGISTRY_PASSWORD}" | base64 | tr -d '\n')\"}}}" > /kaniko/.docker/config.json
echo "not a certificate of anybody" >> /kaniko/ssl/certs/additional-ca-cert-bundle.crt
/kaniko/executor --context "${CI_PROJECT_DIR}" --dockerfile "${CI_PROJECT_DIR}/Dockerfile" --destination "${CI_REGISTRY_IMAGE}:${CI_COMMIT_TAG}"
`
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			host := registryWithLogin(t)
			project := "/builds/team/app"
			spec := pod.Slipway(t, shape)
			spec.Rootfs = pod.SlipwayDebugRootfs(t)
			spec.Args = []string{"/busybox/sh", "-c", script}
			spec.Env = append(spec.Env, "CI_REGISTRY="+host, "CI_REGISTRY_USER="+user, "CI_REGISTRY_PASSWORD="+password, "CI_PROJECT_DIR="+project,
				"CI_REGISTRY_IMAGE="+host+"/team/app", "CI_COMMIT_TAG=v1")
			spec.Volumes = []pod.Volume{{Path: "/builds", Host: filepath.Dir(filepath.Dir(movedTo(t, sourceVolume(t, host), "team/app")))}}
			succeeded(t, spec)
			isBuilt(t, pushed(t, host+"/team/app:v1"))
		})
	}
}

// movedTo moves a directory below one of its own.
func movedTo(t *testing.T, dir, below string) string {
	t.Helper()
	place := filepath.Join(pod.EmptyDir(t), below)
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, place); err != nil {
		t.Fatal(err)
	}
	return place
}

// The arguments and capabilities of Shipwright's strategy, which adds to those that a container has anyway: nothing is pushed by the step, its output directory gets
// an archive.
func TestManifestOfShipwright(t *testing.T) {
	shape := pod.Baseline()
	for _, c := range []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SETFCAP", "KILL"} {
		shape.AddCapabilities = append(shape.AddCapabilities, "CAP_"+c)
	}
	host := registryWithLogin(t)
	output := pod.EmptyDir(t)
	spec := pod.Slipway(t, shape)
	spec.Args = []string{"/kaniko/executor", "--dockerfile", "Dockerfile", "--context", "/workspace/source", "--destination", host + "/team/app:1",
		"--snapshot-mode", "redo", "--ignore-path", "/product_uuid", "--no-push", "--tar-path", "/workspace/output-image/image.tar"}
	spec.Env = append(spec.Env, "HOME=/tekton/home", "DOCKER_CONFIG=/tekton/home/.docker", "AWS_ACCESS_KEY_ID=NOT_SET", "AWS_SECRET_KEY=NOT_SET")
	spec.Dir = "/workspace/source"
	spec.Volumes = []pod.Volume{
		{Path: "/workspace/source", Host: sourceVolume(t, host)}, {Path: "/workspace/output-image", Host: output},
		{Path: "/tekton/home/.docker", Host: dockerConfig(t, host), ReadOnly: true},
	}
	result := succeeded(t, spec)
	if !strings.Contains(result.Stderr, "--snapshot-mode has no effect") {
		t.Errorf("no notice:\n%s", result.Stderr)
	}
	image, err := tarball.ImageFromPath(filepath.Join(output, "image.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	isBuilt(t, image)
}

// The image serves any user, with the root read-only: what is written is on the volume /slipway.
func TestImageOfAnyUser(t *testing.T) {
	host := registryWithLogin(t)
	shape := pod.Restricted()
	shape.Name, shape.UID, shape.ReadOnlyRoot = "restricted, read-only", 123456, true
	source := sourceVolume(t, host)
	write(t, filepath.Join(source, "Dockerfile"), "FROM "+host+"/base/os:1\nCOPY --chown=1000 file /srv/\n")
	spec := pod.Slipway(t, shape, "--destination", host+"/team/app:1")
	spec.Volumes = []pod.Volume{
		{Path: "/workspace", Host: source}, {Path: "/slipway", Host: pod.EmptyDir(t)},
		{Path: "/kaniko/.docker", Host: dockerConfig(t, host), ReadOnly: true},
	}
	succeeded(t, spec)
	if contents := contentsOf(t, pushed(t, host+"/team/app:1")); contents["srv/file"] != "from the context\n" {
		t.Errorf("the image has %q", contents)
	}
}
