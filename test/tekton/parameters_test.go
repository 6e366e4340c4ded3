package tekton_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	tektonv1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// example is a build that shows what parameters, workspaces and results do.
type example struct {
	name string
	// seccomp lists the kubelets' settings of SeccompDefault for which it is built.
	seccomp []bool
	build   build
	check   func(*testing.T, outcome)
}

// both shapes of pods: in the one RUN has namespaces, in the other it has none.
func both() []bool { return []bool{false, true} }

// once is for what does not depend on how RUN is isolated.
func once() []bool { return []bool{false} }

const (
	// image is what most builds push to.
	image = "REGISTRY/team/app:v1"
	// scratch is a Dockerfile that needs nothing.
	scratch = "FROM scratch\nCOPY file /\n"
)

// stages has RUN as root and as a user, COPY --from, a cache mount, a secret and a build argument.
const stages = `FROM REGISTRY/base:1 AS one
ARG GREETING=none
RUN mkdir /made && echo "$GREETING" > /made/greeting
RUN --mount=type=cache,target=/cache echo kept > /cache/file && cp /cache/file /made/cache
RUN --mount=type=secret,id=token cat /run/secrets/token > /made/secret && chown -R demo:demo /made
USER demo
RUN echo by demo > /made/user

FROM scratch
COPY --from=one /made /made
COPY file /
`

func examples() []example {
	return slices.Concat(inputExamples(), outputExamples(), runExamples(), flagExamples(), attestExamples())
}

func inputExamples() []example {
	source := map[string]string{"Dockerfile": stages, "file": "from the context\n"}
	return []example{
		{
			"defaults", both(),
			build{params: map[string]any{"IMAGE": image}, source: source, workspaces: map[string]map[string]string{"secrets": {"token": "hidden"}}},
			func(t *testing.T, o outcome) {
				files := filesOf(t, imageOf(t, o.pushed(t, image, nil)))
				checkContents(t, files, map[string]string{
					"made/greeting": "none\n", "made/cache": "kept\n", "made/secret": "hidden", "made/user": "by demo\n", "file": "from the context\n",
				})
				if owner := files["made/user"]; owner.Header != nil && (owner.Uid != 1000 || owner.Gid != 1000) {
					t.Errorf("made/user belongs to %d:%d", owner.Uid, owner.Gid)
				}
			},
		},
		{
			"inputs", both(),
			build{
				params: map[string]any{
					"IMAGE": image, "CONTEXT": "app", "DOCKERFILE": "docker/Dockerfile", "TARGET": "wanted",
					"BUILD_ARGS":     []string{"GREETING=hello, world", "OTHER=$(NOT_THERE) 5$$"},
					"BUILD_CONTEXTS": []string{"tools=docker-image://REGISTRY/base:1", "more=/workspace/source/more"},
					"SECRETS":        []string{"id=named,src=elsewhere"},
				},
				source: map[string]string{
					"docker/Dockerfile": "ARG GREETING OTHER\nFROM tools AS wanted\nARG GREETING OTHER\nCOPY --from=more here /\nCOPY file /\n" +
						"RUN --mount=type=secret,id=named cat /run/secrets/named > /secret; echo \"$GREETING $OTHER\" > /greeting\n" +
						"FROM wanted\nRUN false\n",
					"app/file": "of app\n", "file": "not of app\n", "more/here": "more\n",
				},
				workspaces: map[string]map[string]string{"secrets": {"elsewhere": "hidden"}},
			},
			func(t *testing.T, o outcome) {
				checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{
					"greeting": "hello, world $(NOT_THERE) 5$\n", "secret": "hidden", "here": "more\n", "file": "of app\n",
				})
			},
		},
		{
			// Its pods have the runtime's default capabilities, and no setuid programs in RUN.
			"on OpenShift", both(),
			build{
				task: "slipway-openshift", params: map[string]any{"IMAGE": image}, source: source,
				workspaces: map[string]map[string]string{"secrets": {"token": "hidden"}},
			},
			func(t *testing.T, o outcome) {
				files := filesOf(t, imageOf(t, o.pushed(t, image, nil)))
				checkContents(t, files, map[string]string{"made/secret": "hidden", "made/user": "by demo\n"})
			},
		},
		{
			"image of slipway", once(),
			build{
				params: map[string]any{"IMAGE": image, "BUILDER_IMAGE": debugImage},
				source: map[string]string{"Dockerfile": scratch, "file": ""},
			},
			func(t *testing.T, o outcome) { o.pushed(t, image, nil) },
		},
	}
}

func outputExamples() []example {
	source := map[string]string{"Dockerfile": scratch, "file": "text\n"}
	return []example{
		{
			"outputs", once(),
			build{
				params: map[string]any{
					"IMAGE": image, "PLATFORMS": []string{"linux/amd64", "linux/arm64"}, "TAGS": []string{"REGISTRY/team/app:v1.0", "REGISTRY/mirror/app:v1"},
					"LABELS": []string{"a=1", "b=two words"}, "ANNOTATIONS": []string{"c=3", "index:d=4"}, "COMPRESSION": "zstd",
					"SOURCE_DATE_EPOCH": "1700000000", "PROGRESS": "rawjson",
				},
				source: source,
			},
			checkOutputs,
		},
		{
			"one platform", once(),
			build{params: map[string]any{"IMAGE": image, "PLATFORM": "linux/arm64"}, source: source},
			func(t *testing.T, o outcome) {
				if got := configOf(t, imageOf(t, o.pushed(t, image, nil))).Architecture; got != "arm64" {
					t.Errorf("the image is for %s", got)
				}
			},
		},
		{
			"without a push", once(),
			build{params: map[string]any{"IMAGE": image, "SKIP_PUSH": "true"}, source: source},
			func(t *testing.T, o outcome) {
				o.notPushed(t, image)
				if digest, ok := o.results["IMAGE_DIGEST"]; ok {
					t.Errorf("IMAGE_DIGEST is %q", digest)
				}
				for _, name := range []string{"IMAGE_URL", "IMAGE_REF", "IMAGES", "SBOM_BLOB_URL"} {
					if value, ok := o.results[name]; !ok || value != "" {
						t.Errorf("%s is %q (there: %v)", name, value, ok)
					}
				}
			},
		},
	}
}

func checkOutputs(t *testing.T, o outcome) {
	t.Helper()
	descriptor := o.pushed(t, image, []string{"REGISTRY/team/app:v1.0", "REGISTRY/mirror/app:v1"})
	index, err := descriptor.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["d"] != "4" {
		t.Errorf("the index has the annotations %v", manifest.Annotations)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		one, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkOutput(t, one)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("the index is for %v, want %v", platforms, want)
	}
	for line := range strings.Lines(o.step.Stderr) {
		// Tekton's entrypoint may write there too, but has no reason to.
		if !json.Valid([]byte(line)) {
			t.Errorf("progress is not JSON: %s", line)
		}
	}
}

func checkOutput(t *testing.T, one v1.Image) {
	t.Helper()
	manifest, err := one.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Annotations["c"] != "3" || manifest.Layers[0].MediaType != types.OCILayerZStd {
		t.Errorf("annotations %v, layer of type %s", manifest.Annotations, manifest.Layers[0].MediaType)
	}
	config := configOf(t, one)
	if want := map[string]string{"a": "1", "b": "two words"}; !maps.Equal(config.Config.Labels, want) {
		t.Errorf("labels %v, want %v", config.Config.Labels, want)
	}
	if at := config.Created.Unix(); at != 1700000000 {
		t.Errorf("created at %d", at)
	}
}

func runExamples() []example {
	// looks says what RUN finds. SHM_SIZE and NETWORK need namespaces.
	const looks = `FROM REGISTRY/base:1
RUN grep somewhere /etc/hosts > /hosts; ulimit -n > /files
RUN grep -c : /proc/net/dev > /devices; df -k /dev/shm | tail -n 1 > /shm; true
`
	source := map[string]string{"Dockerfile": looks}
	return []example{
		{
			"processes", both(),
			build{
				params: map[string]any{"IMAGE": image, "ADD_HOSTS": []string{"somewhere:192.0.2.7"}, "ULIMITS": []string{"nofile=123:456"}},
				source: source,
			},
			func(t *testing.T, o outcome) {
				checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{"hosts": "192.0.2.7\tsomewhere\n", "files": "123\n"})
			},
		},
		{
			"namespaces", once(),
			build{
				params: map[string]any{"IMAGE": image, "ISOLATION": "namespace", "NETWORK": "none", "SHM_SIZE": "3m"},
				source: source,
			},
			func(t *testing.T, o outcome) {
				files := filesOf(t, imageOf(t, o.pushed(t, image, nil)))
				checkContents(t, files, map[string]string{"devices": "1\n"})
				if fields := strings.Fields(files["shm"].content); len(fields) < 2 || fields[1] != "3072" {
					t.Errorf("/dev/shm is %q", files["shm"].content)
				}
			},
		},
		{
			"in place", once(),
			build{
				params: map[string]any{"IMAGE": image, "ISOLATION": "inplace"},
				source: source,
			},
			func(t *testing.T, o outcome) {
				o.pushed(t, image, nil)
				if !strings.Contains(o.log(), "inplace") {
					t.Errorf("the log does not say how RUN was isolated:\n%s", o.log())
				}
			},
		},
	}
}

// TestTask runs the Task for each example.
func TestTask(t *testing.T) {
	for _, e := range examples() {
		for _, seccomp := range e.seccomp {
			name := e.name
			if seccomp {
				name += " without namespaces"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := e.build
				b.seccomp = seccomp
				o := b.run(t)
				o.succeeded(t)
				e.check(t, o)
			})
		}
	}
}

// exercised are the builds of all tests that are about what parameters do, by their Task.
func exercised(t *testing.T) map[string][]build {
	all := map[string][]build{}
	for _, b := range slices.Concat(
		registryBuilds(), joins(), warms(), builds(examples()), []build{warmed("REGISTRY/base:1")}, slices.Collect(maps.Values(mountBuilds())),
		slices.Collect(maps.Values(contextBuilds())), slices.Collect(maps.Values(cacheBuilds())), slices.Collect(maps.Values(policyBuilds())), slices.Collect(maps.Values(imagePolicyBuilds())), slices.Collect(maps.Values(keylessBuilds())),
		[]build{hermeticBuild(t)},
	) {
		name := cmp.Or(b.task, "slipway")
		all[name] = append(all[name], b)
	}
	return all
}

func builds(examples []example) []build {
	var all []build
	for _, e := range examples {
		all = append(all, e.build)
	}
	return all
}

// TestEveryParameterIsExercised wants each parameter of each Task, and each workspace, in a test. The variants for
// OpenShift and for restricted namespaces have those of the Task that they are made from.
func TestEveryParameterIsExercised(t *testing.T) {
	for name, task := range installed[*tektonv1.Task](t) {
		if name == "slipway-openshift" || name == restrictedTask {
			continue
		}
		params, workspaces := map[string]bool{}, map[string]bool{}
		for _, b := range exercised(t)[name] {
			for param := range b.params {
				params[param] = true
			}
			for workspace := range b.workspaces {
				workspaces[workspace] = true
			}
			for workspace := range b.configMaps {
				workspaces[workspace] = true
			}
			for _, workspace := range b.claims {
				workspaces[workspace] = true
			}
			workspaces["source"] = workspaces["source"] || b.source != nil
		}
		for _, p := range task.Spec.Params {
			if !params[p.Name] {
				t.Errorf("no test sets the parameter %s of Task %s", p.Name, name)
			}
			delete(params, p.Name)
		}
		for param := range params {
			t.Errorf("Task %s has no parameter %s", name, param)
		}
		for _, w := range task.Spec.Workspaces {
			if !workspaces[w.Name] {
				t.Errorf("no test has the workspace %s of Task %s", w.Name, name)
			}
		}
	}
}
