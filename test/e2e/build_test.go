package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// hello is the repository's example, as the demonstration builds it.
const hello = "../../examples/hello"

// The image that a build pushed is fetched by skopeo, checked byte by byte, unpacked by umoci,
// and compared with the results and the OCI layout of the same build.
func TestPushedImage(t *testing.T) {
	needRoot(t)
	needTool(t, "skopeo")
	needTool(t, "umoci")
	host, base := registryWithBase(t)
	context, err := filepath.Abs(hello)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tag := host + "/team/hello:v1"
	mustSlipway(t, dir, "build", context,
		"--build-arg", "BASE="+base, "--insecure-registry", host,
		"-t", tag, "-d", host+"/mirror/hello:stable",
		"--oci-layout-path", "layout", "--tar-path", "image.tar",
		"--results-dir", "results", "--result", "IMAGE_DIGEST=single/HELLO_IMAGE_DIGEST",
		"--digest-file", "digest", "--image-name-with-digest-file", "names", "--image-name-tag-with-digest-file", "tags",
		"--metadata-file", "metadata.json")

	fetched := filepath.Join(dir, "fetched")
	tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+tag, "oci:"+fetched+":hello")
	image := verifyLayout(t, fetched)

	t.Run("the config", func(t *testing.T) {
		c := image.config.Config
		if c.User != "65534:65534" || !slices.Equal(c.Entrypoint, []string{"/bin/cat", "/usr/share/hello/greeting.txt"}) ||
			c.Labels["org.opencontainers.image.title"] != "hello" {
			t.Errorf("config %+v", c)
		}
		if image.config.OS != "linux" || image.config.Architecture == "" {
			t.Errorf("platform %s/%s", image.config.OS, image.config.Architecture)
		}
	})

	t.Run("the other destinations", func(t *testing.T) {
		for _, source := range []string{"docker://" + host + "/mirror/hello:stable", "oci:" + filepath.Join(dir, "layout:stable")} {
			if got := tool(t, "skopeo", "--insecure-policy", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", source); strings.TrimSpace(got) != image.digest {
				t.Errorf("%s is %s, want %s", source, got, image.digest)
			}
		}
		if got := verifyLayout(t, filepath.Join(dir, "layout")); got.digest != image.digest {
			t.Errorf("the layout holds %s, want %s", got.digest, image.digest)
		}
		// A docker archive has other manifests; the config stays.
		fromTar := filepath.Join(dir, "from-tar")
		tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "docker-archive:"+filepath.Join(dir, "image.tar"), "oci:"+fromTar+":hello")
		if got := verifyLayout(t, fromTar); !slices.Equal(got.config.RootFS.DiffIDs, image.config.RootFS.DiffIDs) {
			t.Errorf("the archive's layers are %v, want %v", got.config.RootFS.DiffIDs, image.config.RootFS.DiffIDs)
		}
	})

	t.Run("the results", func(t *testing.T) {
		want := map[string]string{
			"results/IMAGE_URL":              tag,
			"results/IMAGE_DIGEST":           image.digest,
			"results/IMAGE_REF":              tag + "@" + image.digest,
			"results/IMAGES":                 tag + "@" + image.digest + "," + host + "/mirror/hello:stable@" + image.digest,
			"results/IMAGE_ARTIFACT_OUTPUTS": `{"uri":"` + host + `/team/hello","digest":"` + image.digest + `","isBuildArtifact":"true"}`,
			"single/HELLO_IMAGE_DIGEST":      image.digest,
			"digest":                         image.digest,
			"names":                          host + "/team/hello@" + image.digest + "\n" + host + "/mirror/hello@" + image.digest + "\n",
			"tags":                           tag + "@" + image.digest + "\n" + host + "/mirror/hello:stable@" + image.digest + "\n",
		}
		for name, content := range want {
			if got := read(t, filepath.Join(dir, name)); got != content {
				t.Errorf("%s: %q, want %q", name, got, content)
			}
		}
		entries, err := os.ReadDir(filepath.Join(dir, "results"))
		if err != nil || len(entries) != 9 { // with the empty ones; it is built upon no image
			t.Errorf("the results directory has %v, error %v", entries, err)
		}
		var metadata map[string]any
		if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "metadata.json"))), &metadata); err != nil {
			t.Fatal(err)
		}
		if got := metadata["containerimage.digest"]; got != image.digest {
			t.Errorf("metadata: containerimage.digest is %v, want %s", got, image.digest)
		}
	})

	t.Run("the files", func(t *testing.T) {
		bundle := filepath.Join(dir, "bundle")
		tool(t, "umoci", "unpack", "--image", fetched+":hello", bundle)
		root := filepath.Join(bundle, "rootfs")
		greeting := read(t, filepath.Join(root, "usr/share/hello/greeting.txt"))
		want := "Hello from Slipway.\nBuilt for:\n" + read(t, filepath.Join(hello, "names.txt"))
		if greeting != want {
			t.Errorf("greeting %q, want %q", greeting, want)
		}
		if got := read(t, filepath.Join(root, "usr/share/hello/SHA256SUMS")); got != strings.TrimPrefix(sum([]byte(want)), "sha256:")+"  greeting.txt\n" {
			t.Errorf("checksums %q", got)
		}
		checkModes(t, root, map[string]fs.FileMode{
			"bin": fs.ModeDir | 0o755, "bin/cat": 0o755,
			"usr": fs.ModeDir | 0o755, "usr/share": fs.ModeDir | 0o755, "usr/share/hello": fs.ModeDir | 0o755,
			"usr/share/hello/greeting.txt": 0o644, "usr/share/hello/SHA256SUMS": 0o644,
		})
	})
}

// checkModes compares all files below root, which belong to root, with what there should be.
func checkModes(t *testing.T, root string, want map[string]fs.FileMode) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		mode, ok := want[name]
		if !ok {
			t.Errorf("%s should not be there", name)
			return nil
		}
		seen++
		if info.Mode() != mode {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), mode)
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 0 || owner.Gid != 0 {
			t.Errorf("%s: owner %d:%d", name, owner.Uid, owner.Gid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != len(want) {
		t.Errorf("%d files, want %d", seen, len(want))
	}
}

// Layers compressed with zstd are read back as those with gzip are.
func TestCompression(t *testing.T) {
	needTool(t, "skopeo")
	host, base := registryWithBase(t)
	context := write(t, map[string]string{
		"Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY data /data\n",
		"data":       strings.Repeat("all work and no play\n", 10000),
	})
	for _, tt := range []struct {
		args      []string
		mediaType string
	}{
		{[]string{"--compression", "gzip", "--compression-level", "9"}, "application/vnd.oci.image.layer.v1.tar+gzip"},
		{[]string{"--compression", "zstd"}, "application/vnd.oci.image.layer.v1.tar+zstd"},
		{[]string{"--compression", "zstd", "--compression-level", "19"}, "application/vnd.oci.image.layer.v1.tar+zstd"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			dir := t.TempDir()
			tag := host + "/team/data:" + strings.Trim(strings.Join(tt.args, ""), "-")
			tag = strings.ReplaceAll(tag, "--", "_")
			mustSlipway(t, dir, append([]string{"build", "--build-arg", "BASE=" + base, "--insecure-registry", host, "-t", tag, context}, tt.args...)...)
			fetched := filepath.Join(dir, "fetched")
			tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+tag, "oci:"+fetched+":data")
			image := verifyLayout(t, fetched)
			if got := image.manifest.Layers[len(image.manifest.Layers)-1].MediaType; got != tt.mediaType {
				t.Errorf("media type %s, want %s", got, tt.mediaType)
			}
		})
	}
}

// SOURCE_DATE_EPOCH makes two builds byte-identical, with state directories of their own and
// at different times.
func TestReproducible(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	files := map[string]string{
		"Dockerfile": "ARG BASE\nFROM ${BASE}\nWORKDIR /app\nCOPY . .\nRUN mkdir -p out && echo built > out/file\nADD names.txt /names/\n",
		"names.txt":  "a\nb\n",
		"sub/x":      "x",
	}
	var digests []string
	for range 2 {
		dir, context := t.TempDir(), write(t, files)
		mustSlipway(t, dir, "build", "--build-arg", "BASE="+base, "--insecure-registry", host,
			"--source-date-epoch", "1700000000", "--no-push", "--oci-layout-path", "layout",
			"--state-dir", "state", context)
		digests = append(digests, verifyLayout(t, filepath.Join(dir, "layout")).digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds give two images: %v", digests)
	}
}

// Kaniko's command line works as it stands.
func TestKanikoCommandLine(t *testing.T) {
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"docker/Dockerfile": "ARG BASE\nFROM $BASE\nCOPY x /x\n", "x": "x"})
	dir := t.TempDir()
	mustSlipway(t, dir, "--dockerfile=docker/Dockerfile", "--context=dir://"+context, "--destination="+host+"/kaniko/app:v1",
		"--build-arg=BASE="+base, "--insecure-registry="+host, "--digest-file="+filepath.Join(dir, "digest"))
	if got := read(t, filepath.Join(dir, "digest")); !strings.HasPrefix(got, "sha256:") || len(got) != 71 {
		t.Errorf("digest file %q", got)
	}
}

// A build that is not pushed gives no result that Tekton Chains would act on.
func TestNoPush(t *testing.T) {
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nCOPY x /x\n", "x": "x"})
	dir := t.TempDir()
	mustSlipway(t, dir, "build", "--build-arg", "BASE="+base, "--insecure-registry", host, "-t", host+"/team/app:v1", "--no-push",
		"--oci-layout-path", "layout", "--results-dir", "results", "--digest-file", "digest", context)
	image := verifyLayout(t, filepath.Join(dir, "layout"))
	if got := read(t, filepath.Join(dir, "digest")); got != image.digest {
		t.Errorf("digest file %q, want %s", got, image.digest)
	}
	for _, name := range []string{"IMAGE_URL", "IMAGE_REF", "IMAGES"} {
		if got := read(t, filepath.Join(dir, "results", name)); got != "" {
			t.Errorf("%s: %q, want it empty", name, got)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "results", "IMAGE_DIGEST")); !os.IsNotExist(err) {
		t.Errorf("IMAGE_DIGEST is there, error %v", err)
	}
}

// The results name what was pushed, also where an --output says it rather than --tag.
func TestResultsOfOutput(t *testing.T) {
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM $BASE\nCOPY x /x\n", "x": "x"})
	for _, tt := range []struct {
		name, url string
		args      []string
	}{
		{"by the output alone", host + "/team/out:v1", []string{"-o", "type=registry,name=" + host + "/team/out:v1"}},
		{"by the output, with a tag for something else", host + "/team/out:v2", []string{"-t", host + "/team/tag:v2", "-o", "type=registry,name=" + host + "/team/out:v2"}},
		{"by buildx's spelling", host + "/team/tag:v3", []string{"-t", host + "/team/tag:v3", "-o", "type=image,push=true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			mustSlipway(t, dir, append([]string{"build", "--build-arg", "BASE=" + base, "--insecure-registry", host, "--results-dir", "results", context}, tt.args...)...)
			if got := read(t, filepath.Join(dir, "results", "IMAGE_URL")); got != tt.url {
				t.Errorf("IMAGE_URL %q, want %q", got, tt.url)
			}
			if _, err := os.Stat(filepath.Join(dir, "results", "IMAGE_DIGEST")); err != nil {
				t.Error(err)
			}
		})
	}
}
