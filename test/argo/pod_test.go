package argo

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"

	"github.com/slipway-build/slipway/test/pod"
)

// node is a cluster of one node without a kubelet: it runs pods of workflows with what they refer to.
type node struct {
	shape pod.Shape // what the cluster does to pods that say nothing
	// secrets and configMaps are there by name, with their keys.
	secrets, configMaps map[string]map[string]string
	// claims are directories that are PersistentVolumeClaims.
	claims map[string]string
	// tokens are those of the pod's service account, by their audience.
	tokens map[string]string
}

// outcome is how a pod of a workflow ended.
type outcome struct {
	exitCode int
	// outputs are the output parameters, as the controller gets them.
	outputs map[string]string
	// progress are the reports that the controller got.
	progress []string
	// progressFile is the file that the executor reads progress from.
	progressFile string
	log          string
}

// run runs a pod as a kubelet would: init, then wait and main together. It checks what Argo's executor
// leaves behind about itself.
func (n node) run(t *testing.T, spec *corev1.PodSpec) outcome {
	t.Helper()
	pod.Require(t)
	server := serveAPI(t)
	volumes := map[string]string{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = n.volume(t, v)
	}
	executor := func(c corev1.Container) pod.Spec {
		s := n.container(t, c, volumes)
		s.Rootfs = executorRootfs(t)
		s.Env = append([]string{"PATH=/bin"}, s.Env...)
		s.Args = append(s.Args, "--kubeconfig=/kubeconfig/config")
		s.Volumes = append(s.Volumes, pod.Volume{Path: "/kubeconfig", Host: server.kubeconfig, ReadOnly: true})
		return s
	}
	for _, c := range spec.InitContainers {
		if r := pod.Run(t, executor(c)); r.ExitCode != 0 {
			t.Fatalf("%s ended with %d\n%s%s", c.Name, r.ExitCode, r.Stdout, r.Stderr)
		}
	}
	var wait *pod.Pod
	for _, c := range spec.Containers {
		if c.Name == common.WaitContainerName {
			wait = pod.Start(t, executor(c))
		}
	}
	build := n.container(t, mainOf(t, spec), volumes)
	build.Rootfs = pod.SlipwayRootfs(t)
	build.Env = append(pod.SlipwayEnv(), build.Env...)
	result := pod.Run(t, build)
	if waited := wait.Wait(); waited.ExitCode != 0 {
		t.Errorf("wait ended with %d\n%s%s", waited.ExitCode, waited.Stdout, waited.Stderr)
	}

	o := outcome{exitCode: result.ExitCode, outputs: map[string]string{}, log: result.Stdout + result.Stderr}
	reported, progress := server.taskResult()
	o.progress = progress
	if done := reported.Labels[common.LabelKeyReportOutputsCompleted]; done != "true" {
		t.Errorf("the executor's report is not complete: %q", done)
	}
	if reported.Outputs != nil {
		for _, p := range reported.Outputs.Parameters {
			o.outputs[p.Name] = p.Value.String()
		}
	}
	code, err := os.ReadFile(filepath.Join(volumes["var-run-argo"], "ctr/main/exitcode"))
	if err != nil {
		t.Fatal(err)
	}
	if string(code) != strconv.Itoa(result.ExitCode) {
		t.Errorf("the executor noted exit code %s of %d", code, result.ExitCode)
	}
	data, err := os.ReadFile(filepath.Join(volumes["var-run-argo"], "progress"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	o.progressFile = string(data)
	for _, p := range o.progress {
		if _, ok := wfv1.ParseProgress(p); !ok {
			t.Errorf("the progress %q was reported", p)
		}
	}
	return o
}

// container is a container of a pod for the harness, without the image.
func (n node) container(t *testing.T, c corev1.Container, volumes map[string]string) pod.Spec {
	t.Helper()
	s := pod.Spec{
		Shape:       shapeOf(n.shape, c.SecurityContext),
		Args:        slices.Concat(c.Command, c.Args),
		HostNetwork: true,
		Timeout:     5 * time.Minute,
	}
	for _, e := range c.Env {
		s.Env = append(s.Env, e.Name+"="+valueOf(t, e))
	}
	for _, m := range c.VolumeMounts {
		host, ok := volumes[m.Name]
		if !ok {
			t.Fatalf("%s mounts %s, which the pod does not have", c.Name, m.Name)
		}
		host = filepath.Join(host, m.SubPath)
		// kubelet makes the directory of a subPath that is not there.
		if err := os.MkdirAll(host, 0o750); err != nil {
			t.Fatal(err)
		}
		s.Volumes = append(s.Volumes, pod.Volume{Path: m.MountPath, Host: host, ReadOnly: m.ReadOnly})
	}
	return s
}

// valueOf is the value of a variable, which can be what the pod knows of itself.
func valueOf(t *testing.T, e corev1.EnvVar) string {
	t.Helper()
	if e.ValueFrom == nil {
		return e.Value
	}
	fields := map[string]string{"metadata.name": podName, "metadata.namespace": namespace, "metadata.uid": podUID}
	if f := e.ValueFrom.FieldRef; f != nil && fields[f.FieldPath] != "" {
		return fields[f.FieldPath]
	}
	t.Fatalf("the variable %s is of a kind that this test does not know", e.Name)
	return ""
}

// volume makes the directory of a volume.
func (n node) volume(t *testing.T, v corev1.Volume) string {
	t.Helper()
	switch {
	case v.EmptyDir != nil:
		return pod.EmptyDir(t)
	case v.Secret != nil:
		return keys(t, found(t, v.Name, n.secrets, v.Secret.SecretName, v.Secret.Optional))
	case v.ConfigMap != nil:
		return keys(t, found(t, v.Name, n.configMaps, v.ConfigMap.Name, v.ConfigMap.Optional))
	case v.Projected != nil:
		return keys(t, n.projected(t, v))
	case v.PersistentVolumeClaim != nil:
		dir, ok := n.claims[v.PersistentVolumeClaim.ClaimName]
		if !ok {
			t.Fatalf("volume %s: no claim %s", v.Name, v.PersistentVolumeClaim.ClaimName)
		}
		return dir
	}
	t.Fatalf("volume %s is of a kind that this test does not know", v.Name)
	return ""
}

// projected are the files of a volume with some keys of Secrets, and with tokens.
func (n node) projected(t *testing.T, v corev1.Volume) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, s := range v.Projected.Sources {
		switch {
		case s.ServiceAccountToken != nil:
			token, ok := n.tokens[s.ServiceAccountToken.Audience]
			if !ok {
				t.Fatalf("volume %s: there is no token for %s", v.Name, s.ServiceAccountToken.Audience)
			}
			files[s.ServiceAccountToken.Path] = token
		case s.Secret != nil:
			data := found(t, v.Name, n.secrets, s.Secret.Name, s.Secret.Optional)
			for _, item := range s.Secret.Items {
				if value, ok := data[item.Key]; ok {
					files[item.Path] = value
				} else if s.Secret.Optional == nil || !*s.Secret.Optional {
					t.Fatalf("volume %s: %s has no key %s", v.Name, s.Secret.Name, item.Key)
				}
			}
		default:
			t.Fatalf("volume %s has a source that this test does not know", v.Name)
		}
	}
	return files
}

// found is the object that a volume names.
func found(t *testing.T, volume string, objects map[string]map[string]string, name string, optional *bool) map[string]string {
	t.Helper()
	// The API server wants a name even of what need not exist.
	if name == "" {
		t.Fatalf("volume %s names nothing", volume)
	}
	data, ok := objects[name]
	if !ok && (optional == nil || !*optional) {
		t.Fatalf("volume %s: there is no %s", volume, name)
	}
	return data
}

// keys makes a directory with a file for each key, in the way in which kubelet can exchange all of them
// at once.
func keys(t *testing.T, data map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "..1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..1", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if err := os.WriteFile(filepath.Join(dir, "..1", key), []byte(data[key]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("..data/"+key, filepath.Join(dir, key)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shapeOf adds what a container asks for itself to what the cluster does to all.
func shapeOf(s pod.Shape, c *corev1.SecurityContext) pod.Shape {
	if c == nil {
		return s
	}
	if c.RunAsUser != nil {
		s.UID = uint32(*c.RunAsUser)
	}
	if c.AllowPrivilegeEscalation != nil {
		s.NoNewPrivileges = !*c.AllowPrivilegeEscalation
	}
	if c.ReadOnlyRootFilesystem != nil {
		s.ReadOnlyRoot = *c.ReadOnlyRootFilesystem
	}
	if c.SeccompProfile != nil {
		s.RuntimeDefault = c.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault
	}
	if c.Privileged != nil {
		s.Privileged = *c.Privileged
	}
	if c.Capabilities != nil {
		s.DropAll = slices.Contains(c.Capabilities.Drop, "ALL")
		for _, capability := range c.Capabilities.Add {
			s.AddCapabilities = append(s.AddCapabilities, "CAP_"+string(capability))
		}
	}
	return s
}
