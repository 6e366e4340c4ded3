package tekton_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase/forge"
)

// flagExamples are builds with flags that the Task has no parameter for, and with arguments that mean something to
// BuildKit's frontend.
func flagExamples() []example {
	source := map[string]string{"Dockerfile": scratch, "file": "text\n"}
	of := func(flags ...string) build {
		return build{params: map[string]any{"IMAGE": image, "EXTRA_ARGS": flags}, source: source}
	}
	return []example{
		{
			"cache and compression", once(), of("--no-cache", "--no-cache-filter=one", "--compression-level=9", "--label=a=b c"),
			func(t *testing.T, o outcome) {
				if got := configOf(t, imageOf(t, o.pushed(t, image, nil))).Config.Labels["a"]; got != "b c" {
					t.Errorf("the label is %q", got)
				}
			},
		},
		{
			"files beside the push", once(), of(
				"--oci-layout-path=/workspace/source/layout", "--tar-path=/workspace/source/image.tar",
				"--metadata-file=/workspace/source/metadata.json", "--iidfile=/workspace/source/iid", "--digest-file=/workspace/source/digest",
				"--image-name-with-digest-file=/workspace/source/name", "--image-name-tag-with-digest-file=/workspace/source/tagged",
			),
			checkFiles,
		},
		{
			"output and push", once(), of("--output=type=local,dest=/workspace/source/out", "--push"),
			func(t *testing.T, o outcome) {
				o.pushed(t, image, nil)
				checkFile(t, filepath.Join(o.source, "out/file"), "text\n")
			},
		},
		{
			"plain HTTP", once(), of("--insecure", "--insecure-pull", "--skip-tls-verify", "--skip-tls-verify-pull", "--skip-tls-verify-registry=REGISTRY"),
			func(t *testing.T, o outcome) { o.pushed(t, image, nil) },
		},
		{
			"Kaniko's flags for images", once(),
			build{
				params: map[string]any{"IMAGE": image, "EXTRA_ARGS": []string{"--image-format=docker", "--single-snapshot", "--ignore-path=/root/.cache", "--reproducible"}},
				source: map[string]string{"Dockerfile": "FROM scratch\nCOPY file /\nCOPY file /root/.cache/\nCOPY file /other\n", "file": "text\n"},
			},
			func(t *testing.T, o outcome) {
				made := imageOf(t, o.pushed(t, image, nil))
				manifest, err := made.Manifest()
				if err != nil {
					t.Fatal(err)
				}
				if manifest.MediaType != types.DockerManifestSchema2 || len(manifest.Layers) != 1 || configOf(t, made).Created.Unix() != 0 {
					t.Errorf("media type %s, %d layers, made at %s", manifest.MediaType, len(manifest.Layers), configOf(t, made).Created)
				}
				files := filesOf(t, made)
				checkContents(t, files, map[string]string{"file": "text\n", "other": "text\n"})
				if _, there := files["root/.cache/file"]; there {
					t.Error("what is to be ignored is in the image")
				}
			},
		},
		{
			"Kaniko's flags for registries and git", once(), of(
				"--credential-helpers=env", "--registry-client-cert=other.example.com=cert.pem,key.pem", "--image-download-retry=5", "--push-retry=5",
				"--push-ignore-immutable-tag-errors", "--skip-push-permission-check", "--git=branch=main",
			),
			func(t *testing.T, o outcome) { o.pushed(t, image, nil) },
		},
		{
			"mirrors", once(),
			build{
				params: map[string]any{
					"IMAGE": image, "REGISTRY_MIRRORS": []string{"REGISTRY"}, "REGISTRY_MAP": []string{"mapped.example.com=REGISTRY"},
					"EXTRA_ARGS": []string{"--skip-default-registry-fallback"},
				},
				source: map[string]string{"Dockerfile": "FROM base:1 AS hub\nFROM mapped.example.com/base:1\nCOPY --from=hub /etc/passwd /copied\n"},
			},
			func(t *testing.T, o outcome) { o.pushed(t, image, nil) },
		},
		{
			"entitlements", once(),
			build{
				params: map[string]any{"IMAGE": image, "EXTRA_ARGS": []string{"--allow=network.host", "--allow=security.insecure"}},
				source: map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nRUN --network=host --security=insecure echo made > /made\n"},
			},
			func(t *testing.T, o outcome) {
				checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{"made": "made\n"})
			},
		},
		{
			"arguments of the frontend", once(),
			build{
				params: map[string]any{"IMAGE": image, "BUILD_ARGS": []string{
					"BUILDKIT_DOCKERFILE_CHECK=error=true", "BUILDKIT_CACHE_MOUNT_NS=mine",
					"HTTP_PROXY=http://proxy.example.com:3128", "HTTPS_PROXY=http://proxy.example.com:3128", "NO_PROXY=localhost",
				}},
				source: map[string]string{"Dockerfile": `FROM REGISTRY/base:1
RUN --mount=type=cache,target=/cache echo "$HTTP_PROXY $HTTPS_PROXY $NO_PROXY" > /proxies
`},
			},
			func(t *testing.T, o outcome) {
				made := imageOf(t, o.pushed(t, image, nil))
				checkContents(t, filesOf(t, made), map[string]string{"proxies": "http://proxy.example.com:3128 http://proxy.example.com:3128 localhost\n"})
				if env := strings.Join(configOf(t, made).Config.Env, " "); strings.Contains(env, "PROXY") {
					t.Errorf("the image has the environment %s", env)
				}
			},
		},
	}
}

// checkFiles checks what a build wrote into the workspace beside its push.
func checkFiles(t *testing.T, o outcome) {
	t.Helper()
	descriptor := o.pushed(t, image, nil)
	digest := descriptor.Digest
	config, err := imageOf(t, descriptor).ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(o.source, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != digest {
		t.Errorf("the layout has %+v, %v; want %s", manifest, err, digest)
	}
	archived, err := tarball.ImageFromPath(filepath.Join(o.source, "image.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := archived.ConfigName(); err != nil || got != config {
		t.Errorf("the archive has %s, %v; want %s", got, err, config)
	}
	checkFile(t, filepath.Join(o.source, "iid"), config.String())
	checkFile(t, filepath.Join(o.source, "digest"), digest.String())
	checkFile(t, filepath.Join(o.source, "name"), fill("REGISTRY/team/app@", o.registry)+digest.String()+"\n")
	checkFile(t, filepath.Join(o.source, "tagged"), fill("REGISTRY/team/app:v1@", o.registry)+digest.String()+"\n")
	metadata, err := os.ReadFile(filepath.Join(o.source, "metadata.json"))
	if err != nil || !strings.Contains(string(metadata), digest.String()) {
		t.Errorf("the metadata are %s, %v", metadata, err)
	}
}

func checkFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

// refused is a build that fails because of a further flag or argument.
type refused struct {
	name    string
	params  map[string]any
	code    int
	reason  string
	message string
}

func refusals() []refused {
	all := []refused{
		{"check", map[string]any{"EXTRA_ARGS": []string{"--check"}}, 1, "BuildFailed", "1 check warning"},
		{"rules as errors", map[string]any{"BUILD_ARGS": []string{"BUILDKIT_DOCKERFILE_CHECK=error=true"}}, 1, "BuildFailed", "FromAsCasing"},
	}
	for _, limit := range []string{
		"--memory=2g", "--memory-swap=-1", "--cpu-quota=50000", "--cpu-period=100000", "--cpu-shares=512", "--cpuset-cpus=0", "--cpuset-mems=0", "--cgroup-parent=/builds",
	} {
		flags := []string{limit}
		switch {
		case strings.HasPrefix(limit, "--memory-swap"):
			flags = append(flags, "--memory=2g")
		case strings.HasPrefix(limit, "--cpu-period"):
			flags = append(flags, "--cpu-quota=50000")
		}
		all = append(all, refused{limit, map[string]any{"EXTRA_ARGS": flags}, 77, "IsolationUnavailable", "control group"})
	}
	return all
}

// TestRefusedFlags has a Dockerfile that breaks one of BuildKit's rules, and has a RUN.
func TestRefusedFlags(t *testing.T) {
	host := serve(t).Host
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.params["IMAGE"] = image
			b := build{params: r.params, source: map[string]string{"Dockerfile": "FROM REGISTRY/base:1 As made\nRUN true\n"}}
			o := b.runAt(t, host)
			o.failed(t, r.code, r.reason, r.message)
			o.notPushed(t, image)
		})
	}
}

// keyFlag gives a key under another id.
const keyFlag = "--ssh=deploy=/workspace/ssh-directory/id_deploy"

// TestKeyUnderAnotherID has RUN ask for the agent by its id.
func TestKeyUnderAnotherID(t *testing.T) {
	b := build{
		params:     map[string]any{"IMAGE": image, "EXTRA_ARGS": []string{keyFlag}},
		source:     map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nRUN --mount=type=ssh,id=deploy,required [ -S \"$SSH_AUTH_SOCK\" ]\n"},
		workspaces: map[string]map[string]string{"ssh-directory": {"id_deploy": string(forge.NewKey(t).PEM(t, ""))}},
	}
	o := b.run(t)
	o.succeeded(t)
	o.pushed(t, image, nil)
}

// TestFurtherFlagsAreExercised holds the README's tables of flags and arguments against what the builds of the tests
// above have.
func TestFurtherFlagsAreExercised(t *testing.T) {
	exercised := map[string]bool{}
	note := func(params map[string]any) {
		for _, param := range []string{"EXTRA_ARGS", "BUILD_ARGS"} {
			elements, _ := params[param].([]string)
			for _, e := range elements {
				name, _, _ := strings.Cut(e, "=")
				exercised[name] = true
			}
		}
	}
	note(map[string]any{"EXTRA_ARGS": []string{keyFlag, noPushCache}})
	note(map[string]any{"EXTRA_ARGS": cacheFlags()})
	for _, e := range slices.Concat(flagExamples(), attestExamples()) {
		note(e.build.params)
	}
	for _, b := range keylessBuilds() {
		note(b.params)
	}
	for _, r := range refusals() {
		note(r.params)
	}
	readme, err := os.ReadFile(filepath.Join(repository, "task/slipway/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "### Further flags\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.HasPrefix(line, "| `") {
			for _, m := range regexp.MustCompile("`(--[a-z-]+|[A-Z_]+)").FindAllStringSubmatch(cells[1], -1) {
				documented = append(documented, m[1])
			}
		}
	}
	if len(documented) < 20 {
		t.Fatalf("the README has only %q", documented)
	}
	for _, name := range documented {
		if !exercised[name] {
			t.Errorf("the README shows %s, which no test has", name)
		}
	}
	for name := range exercised {
		if !slices.Contains(documented, name) && name != "--label" {
			t.Errorf("the README does not show %s", name)
		}
	}
}
