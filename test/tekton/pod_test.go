package tekton_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	podtemplate "github.com/tektoncd/pipeline/pkg/apis/pipeline/pod"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// podOf is the Pod that Tekton makes of a build.
func podOf(t *testing.T, b build) *corev1.Pod {
	t.Helper()
	run, _, _ := b.create(t, "registry.example.com")
	return run.Pod
}

// minimal gives the Task only what it insists on.
func minimal() build {
	return build{params: map[string]any{"IMAGE": image}, source: map[string]string{}, private: true}
}

// entrypointArgs are Tekton's own arguments for our step.
func entrypointArgs() []string {
	return []string{
		"-wait_file", "/tekton/downward/ready", "-wait_file_content",
		"-post_file", "/tekton/run/0/out", "-termination_path", "/tekton/termination", "-step_metadata_dir", "/tekton/run/0/status",
		"-results", "IMAGE_URL,IMAGE_DIGEST,IMAGE_REF,IMAGES,IMAGE_ARTIFACT_OUTPUTS,BASE_IMAGE_ARTIFACT_INPUTS,BASE_IMAGES,SBOM_BLOB_URL,ERROR_REASON,ERROR_MESSAGE",
		"-entrypoint", "/usr/local/bin/slipway", "--",
	}
}

func resultArgs() []string {
	var args []string
	for _, name := range []string{"IMAGE_URL", "IMAGE_DIGEST", "IMAGE_REF", "IMAGES", "IMAGE_ARTIFACT_OUTPUTS", "BASE_IMAGE_ARTIFACT_INPUTS", "BASE_IMAGES", "SBOM_BLOB_URL", "ERROR_REASON", "ERROR_MESSAGE"} {
		args = append(args, "--result="+name+"=/tekton/results/"+name)
	}
	return args
}

// TestPodOfTask has the exact Pod: two containers, one of them Tekton's own, and no shell in any.
func TestPodOfTask(t *testing.T) {
	for _, test := range []struct {
		name string
		// what the Pod is made of
		build build
		args  []string
		// what is mounted beside Tekton's own
		mounts map[string]string
	}{
		{
			"defaults", minimal(),
			slices.Concat(
				[]string{
					"build", "--context=/workspace/source", "--context=", "--context-sub-path=.", "--dockerfile=./Dockerfile", "--target=", "--platform=",
					"--tag=registry.example.com/team/app:v1", "--no-push=false", "--compression=gzip", "--source-date-epoch=",
					"--cache=false", "--cache-repo=", "--cache-repo=", "--cache-ttl=", "--cache-mount-max-size=", "--cache-dir=", "--cloud-credentials-dir=", "--source-policy-dir=",
					"--source-policy-file=", "--policy-dir=", "--policy=", "--policy-mode=enforce",
					"--hermetic=false", "--provenance=", "--sbom=", "--attest-storage=index", "--vcs-source=", "--vcs-revision=", "--sign=none", "--sign-dir=",
					"--sign-format=signature", "--fulcio-url=", "--rekor-url=", "--tsa-url=", "--network=default", "--shm-size=", "--isolation=auto", "--tls-verify=true", "--docker-config=",
					"--registry-certificates-dir=", "--secrets-dir=", "--ssh-dir=", "--state-dir=/slipway", "--progress=plain",
				},
				resultArgs(),
				[]string{
					"--platforms", "--tags", "--build-args", "--build-contexts", "--labels", "--annotations", "--sign-annotations", "--secrets", "--add-hosts",
					"--ulimits", "--caches-from", "--caches-to", "--cache-mount-modes", "--insecure-registries", "--registry-certificates",
					"--registry-mirrors", "--registry-maps", "--extra-args",
				},
			),
			map[string]string{"/workspace/source": "claim source", "/slipway": "empty"},
		},
		{
			"everything",
			build{
				params: map[string]any{
					"IMAGE": image, "CONTEXT": "dir", "DOCKERFILE": "D", "TARGET": "stage", "PLATFORMS": []string{"linux/amd64", "linux/arm64"},
					"PLATFORM": "linux/s390x", "TAGS": []string{"t1", "t2"}, "BUILD_ARGS": []string{"A=1 2", "B=$(C)"},
					"BUILD_CONTEXTS": []string{"x=y"}, "LABELS": []string{"l=1"}, "ANNOTATIONS": []string{"a=1"}, "SECRETS": []string{"id=s"},
					"ADD_HOSTS": []string{"h:192.0.2.1"}, "NETWORK": "none", "SHM_SIZE": "1m", "ULIMITS": []string{"nofile=1"},
					"ISOLATION": "inplace", "SKIP_PUSH": "true", "COMPRESSION": "zstd", "SOURCE_DATE_EPOCH": "7", "TLS_VERIFY": "false",
					"CONTEXT_URL": "https://example.com/a.git", "CACHE": "true", "CACHE_REPO": "s3://b", "CACHE_FROM": []string{"f1", "f2"},
					"CACHE_TO": []string{"to"}, "CACHE_TTL": "1h", "CACHE_MOUNTS": []string{"off", "go=both"}, "CACHE_MOUNT_MAX_SIZE": "2g", "SOURCE_POLICY_FILE": "p.json",
					"IMAGE_POLICY_FILE": "i.json", "IMAGE_POLICY_MODE": "warn", "HERMETIC": "true", "PROVENANCE": "true", "SBOM": "format=both",
					"ATTEST_STORAGE": "both", "VCS_SOURCE": "v", "VCS_REVISION": "w", "SIGN": "keyless", "SIGN_FORMAT": "bundle", "SIGN_ANNOTATIONS": []string{"s=1"}, "FULCIO_URL": "f", "REKOR_URL": "r", "TSA_URL": "t",
					"INSECURE_REGISTRIES": []string{"r"}, "REGISTRY_CERTIFICATES": []string{"r=f"}, "REGISTRY_MIRRORS": []string{"m"}, "REGISTRY_MAP": []string{"q=m1;q=m2"}, "PROGRESS": "quiet",
					"EXTRA_ARGS": []string{"--no-cache", "--check"}, "BUILDER_IMAGE": slipwayImage,
				},
				source:     map[string]string{},
				workspaces: map[string]map[string]string{"dockerconfig": nil, "sslcertdir": nil, "secrets": nil, "ssh-directory": nil, "cloud-credentials": nil, "signing": nil},
				claims:     []string{"base-images", "cache", "image-policy", "source-policy"},
				private:    true,
			},
			slices.Concat(
				[]string{
					"build", "--context=/workspace/source", "--context=https://example.com/a.git", "--context-sub-path=dir", "--dockerfile=D", "--target=stage", "--platform=linux/s390x",
					"--tag=registry.example.com/team/app:v1", "--no-push=true", "--compression=zstd", "--source-date-epoch=7",
					"--cache=true", "--cache-repo=/workspace/cache", "--cache-repo=s3://b", "--cache-ttl=1h", "--cache-mount-max-size=2g", "--cache-dir=/workspace/base-images",
					"--cloud-credentials-dir=/workspace/cloud-credentials", "--source-policy-dir=/workspace/source-policy",
					"--source-policy-file=p.json", "--policy-dir=/workspace/image-policy", "--policy=i.json", "--policy-mode=warn",
					"--hermetic=true", "--provenance=true", "--sbom=format=both", "--attest-storage=both", "--vcs-source=v", "--vcs-revision=w", "--sign=keyless",
					"--sign-dir=/workspace/signing", "--sign-format=bundle", "--fulcio-url=f", "--rekor-url=r", "--tsa-url=t", "--network=none",
					"--shm-size=1m", "--isolation=inplace", "--tls-verify=false", "--docker-config=/workspace/dockerconfig",
					"--registry-certificates-dir=/workspace/sslcertdir", "--secrets-dir=/workspace/secrets", "--ssh-dir=/workspace/ssh-directory", "--state-dir=/slipway", "--progress=quiet",
				},
				resultArgs(),
				[]string{
					"--platforms", "linux/amd64", "linux/arm64", "--tags", "t1", "t2", "--build-args", "A=1 2", "B=$(C)", "--build-contexts", "x=y",
					"--labels", "l=1", "--annotations", "a=1", "--sign-annotations", "s=1", "--secrets", "id=s", "--add-hosts", "h:192.0.2.1", "--ulimits", "nofile=1",
					"--caches-from", "f1", "f2", "--caches-to", "to", "--cache-mount-modes", "off", "go=both", "--insecure-registries", "r", "--registry-certificates", "r=f",
					"--registry-mirrors", "m", "--registry-maps", "q=m1;q=m2", "--extra-args", "--no-cache", "--check",
				},
			),
			map[string]string{
				"/workspace/source": "claim source", "/slipway": "empty", "/workspace/dockerconfig": "secret dockerconfig",
				"/workspace/sslcertdir": "secret sslcertdir", "/workspace/secrets": "secret secrets", "/workspace/signing": "secret signing", "/workspace/ssh-directory": "secret ssh-directory",
				"/workspace/cloud-credentials": "secret cloud-credentials", "/workspace/cache": "claim cache", "/workspace/base-images": "claim base-images, read-only", "/workspace/source-policy": "claim source-policy", "/workspace/image-policy": "claim image-policy",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := podOf(t, test.build)
			step := checkContainers(t, pod)
			if args := slices.Concat(entrypointArgs(), test.args); !slices.Equal(step.Args, args) {
				t.Errorf("the arguments are\n%q\nwant\n%q", step.Args, args)
			}
			if mounts := ownMounts(t, pod, step); !maps.Equal(mounts, test.mounts) {
				t.Errorf("mounted are %v, want %v", mounts, test.mounts)
			}
			checkSecurity(t, step)
		})
	}
}

// checkContainers wants Tekton's init container and one step, and gives the step.
func checkContainers(t *testing.T, p *corev1.Pod) corev1.Container {
	t.Helper()
	if len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].Name != "prepare" || len(p.Spec.Containers) != 1 {
		t.Fatalf("init containers: %v, containers: %v", p.Spec.InitContainers, p.Spec.Containers)
	}
	step := p.Spec.Containers[0]
	if step.Image != slipwayImage || !slices.Equal(step.Command, []string{"/tekton/bin/entrypoint"}) {
		t.Errorf("image %s, command %q", step.Image, step.Command)
	}
	if step.WorkingDir != "" || !slices.Equal(namesOf(step.Env), []string{"SLIPWAY_RUN_TASK_RUN", "SLIPWAY_RUN_NAMESPACE", "SLIPWAY_RUN_UID", "SLIPWAY_RUN_PIPELINE_RUN"}) || step.TerminationMessagePath != "/tekton/termination" {
		t.Errorf("working directory %q, environment %v, termination message at %s", step.WorkingDir, step.Env, step.TerminationMessagePath)
	}
	for name, want := range map[corev1.ResourceName]string{"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "1Gi"} {
		if got := step.Resources.Requests[name]; got.String() != want {
			t.Errorf("%s requested of %s, want %s", got.String(), name, want)
		}
	}
	if len(step.Resources.Limits) > 0 {
		t.Errorf("limits %v", step.Resources.Limits)
	}
	return step
}

func namesOf(env []corev1.EnvVar) []string {
	var all []string
	for _, e := range env {
		all = append(all, e.Name)
	}
	return all
}

// ownMounts are those that the Task and its workspaces ask for.
func ownMounts(t *testing.T, p *corev1.Pod, c corev1.Container) map[string]string {
	t.Helper()
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		if strings.HasPrefix(m.MountPath, "/tekton/") || m.MountPath == "/workspace" {
			continue
		}
		i := slices.IndexFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			t.Fatalf("there is no volume %s", m.Name)
		}
		switch v := p.Spec.Volumes[i]; {
		case v.EmptyDir != nil:
			mounts[m.MountPath] = "empty"
		case v.PersistentVolumeClaim != nil:
			mounts[m.MountPath] = "claim " + v.PersistentVolumeClaim.ClaimName
			if m.ReadOnly {
				mounts[m.MountPath] += ", read-only"
			}
		case v.Secret != nil:
			mounts[m.MountPath] = "secret " + v.Secret.SecretName
		}
	}
	return mounts
}

func checkSecurity(t *testing.T, c corev1.Container) {
	t.Helper()
	s := c.SecurityContext
	if s == nil || s.RunAsUser == nil || *s.RunAsUser != 0 || s.Privileged == nil || *s.Privileged {
		t.Fatalf("security context %+v", s)
	}
	if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, added()) {
		t.Errorf("capabilities %+v", s.Capabilities)
	}
	// With any of these, some builds would not work; see the README.
	if s.AllowPrivilegeEscalation != nil || s.SeccompProfile != nil || s.ReadOnlyRootFilesystem != nil {
		t.Errorf("security context %+v", s)
	}
}

// TestPodSecurity holds the Pods of all Tasks against the Pod Security Standards of several versions of Kubernetes.
func TestPodSecurity(t *testing.T) {
	levels := map[string]api.Level{
		"slipway": api.LevelBaseline, "slipway-openshift": api.LevelBaseline, "slipway-index": api.LevelRestricted,
		"slipway-cache-warm": api.LevelRestricted, restrictedTask: api.LevelRestricted,
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := []api.Version{
		api.MajorMinorVersion(1, 25), api.MajorMinorVersion(1, 29), api.MajorMinorVersion(1, 32), api.MajorMinorVersion(1, 35), api.LatestVersion(),
	}
	for name, task := range installed[*v1.Task](t) {
		level, ok := levels[name]
		if !ok {
			t.Errorf("nobody says which level Task %s fits", name)
			continue
		}
		p := podOf(t, admissible(task))
		for _, version := range versions {
			t.Run(name+" "+version.String(), func(t *testing.T) {
				checkLevel(t, evaluator, level, version, p)
				if level != api.LevelRestricted && fits(evaluator, api.LevelRestricted, version, p) {
					t.Errorf("it fits %s too", api.LevelRestricted)
				}
			})
		}
	}
}

// admissible is a build with the Task whose Pod has nothing but what the Task asks for. Tekton's own container fits the
// level restricted only with a feature flag.
func admissible(task *v1.Task) build {
	b := build{task: task.Name, params: map[string]any{}, private: true, flags: map[string]string{"set-security-context": "true"}}
	for _, p := range task.Spec.Params {
		switch {
		case p.Default != nil:
		case p.Type == v1.ParamTypeArray:
			b.params[p.Name] = []string{image}
		default:
			b.params[p.Name] = image
		}
	}
	for _, w := range task.Spec.Workspaces {
		switch {
		case w.Name == "source":
			b.source = map[string]string{}
		case !w.Optional:
			b.claims = append(b.claims, w.Name)
		}
	}
	return b
}

func fits(evaluator policy.Evaluator, level api.Level, version api.Version, p *corev1.Pod) bool {
	results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: version}, &p.ObjectMeta, &p.Spec)
	return !slices.ContainsFunc(results, func(r policy.CheckResult) bool { return !r.Allowed })
}

func checkLevel(t *testing.T, evaluator policy.Evaluator, level api.Level, version api.Version, p *corev1.Pod) {
	t.Helper()
	for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: version}, &p.ObjectMeta, &p.Spec) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
}

// TestUserNamespace has a Pod with hostUsers: false, which only a TaskRun can ask for, and runs it. It has no registry,
// since such a Pod cannot have the node's network.
func TestUserNamespace(t *testing.T) {
	no := false
	b := build{
		params:   map[string]any{"IMAGE": image, "SKIP_PUSH": "true", "BUILD_CONTEXTS": []string{"base=oci-layout:///workspace/source/base"}},
		source:   map[string]string{"Dockerfile": "FROM base\nRUN id -u > /uid && chown demo /uid\n"},
		private:  true,
		template: func(t *podtemplate.Template) { t.HostUsers = &no },
		layout:   "base",
	}
	o := b.runAt(t, "registry.example.com")
	o.succeeded(t)
	if !strings.Contains(o.log(), "namespace") {
		t.Errorf("the log does not say how RUN was isolated:\n%s", o.log())
	}
}
