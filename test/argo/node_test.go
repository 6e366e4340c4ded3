package argo

import (
	"path"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
)

// Names of what the pods of these tests belong to.
const (
	namespace    = "builds"
	podName      = "build-1"
	workflowName = "build"
	nodeID       = "build-1-node"
	podUID       = "1d1d"
	workflowUID  = "2e2e"
)

// instance is a template with the values of its parameters in place, as the controller makes it for a
// node of a workflow.
func instance(t *testing.T, tmpl *wfv1.Template, arguments wfv1.Arguments, globals common.Parameters) *wfv1.Template {
	t.Helper()
	globals = globals.Merge(common.Parameters{common.GlobalVarWorkflowName: workflowName, common.GlobalVarWorkflowUID: workflowUID})
	made, err := common.ProcessArgs(tmpl, &arguments, globals, common.Parameters{common.LocalVarPodName: podName}, false, namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// values are arguments with these parameters.
func values(parameters map[string]string) wfv1.Arguments {
	var a wfv1.Arguments
	for name, value := range parameters {
		a.Parameters = append(a.Parameters, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(value)})
	}
	return a
}

// podOf makes the pod of a template that has its values. What Argo exports it does itself; the rest follows
// createWorkflowPod of its controller, which is not exported: volumes, mounts, environment and the
// command in front of ours. patches are podSpecPatch of the workflow.
func podOf(t *testing.T, tmpl *wfv1.Template, patches ...string) *corev1.PodSpec {
	t.Helper()
	run := corev1.VolumeMount{Name: "var-run-argo", MountPath: common.VarRunArgoPath}
	spec := &corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Volumes:       slices.Concat([]corev1.Volume{emptyDir(run.Name), emptyDir("tmp-dir-argo")}, tmpl.Volumes),
	}
	main := *tmpl.Container.DeepCopy()
	main.Name = common.MainContainerName
	initial := corev1.Container{Name: common.InitContainerName, Command: []string{"argoexec", "init"}}
	wait := corev1.Container{Name: common.WaitContainerName, Command: []string{"argoexec", "wait"}}

	// Input artifacts, which init fetches.
	if len(tmpl.Inputs.Artifacts) > 0 {
		spec.Volumes = append(spec.Volumes, emptyDir("input-artifacts"))
		initial.VolumeMounts = append(initial.VolumeMounts, corev1.VolumeMount{Name: "input-artifacts", MountPath: common.ExecutorArtifactBaseDir})
		for _, m := range tmpl.GetVolumeMounts() {
			m.MountPath = path.Join(common.ExecutorMainFilesystemDir, m.MountPath)
			initial.VolumeMounts = append(initial.VolumeMounts, m)
		}
		for _, a := range tmpl.Inputs.Artifacts {
			if (!a.HasLocationOrKey() && a.Optional) || common.FindOverlappingVolume(tmpl, a.Path) != nil {
				continue
			}
			main.VolumeMounts = append(main.VolumeMounts, corev1.VolumeMount{Name: "input-artifacts", MountPath: a.Path, SubPath: a.Name})
		}
	}
	// Output parameters on volumes, which wait reads through mounts of its own.
	for _, m := range main.VolumeMounts {
		m.MountPath = path.Join(common.ExecutorMainFilesystemDir, m.MountPath)
		m.ReadOnly = false
		wait.VolumeMounts = append(wait.VolumeMounts, m)
	}
	main.Command = append([]string{common.VarRunArgoPath + "/argoexec", "emissary", "--loglevel", "info", "--log-format", "text", "--"}, main.Command...)

	simplified := tmpl.DeepCopy()
	simplified.Inputs = wfv1.Inputs{Artifacts: simplified.Inputs.Artifacts}
	initial.Env = append(initial.Env, corev1.EnvVar{Name: common.EnvVarTemplate, Value: wfv1.MustMarshallJSON(simplified)})
	for _, c := range []*corev1.Container{&initial, &wait, &main} {
		c.VolumeMounts = append(c.VolumeMounts, run)
		for _, e := range [][2]string{
			{common.EnvVarContainerName, c.Name},
			{common.EnvVarPodName, podName},
			{common.EnvVarPodUID, podUID},
			{common.EnvVarWorkflowName, workflowName},
			{common.EnvVarWorkflowUID, workflowUID},
			{common.EnvVarNodeID, nodeID},
			{common.EnvVarIncludeScriptOutput, "false"},
			{common.EnvVarDeadline, time.Time{}.Format(time.RFC3339)},
			{common.EnvVarProgressFile, common.ArgoProgressPath},
			// Argo's own are a minute and three seconds.
			{common.EnvVarProgressPatchTickDuration, "50ms"},
			{common.EnvVarProgressFileTickDuration, "50ms"},
		} {
			c.Env = append(c.Env, corev1.EnvVar{Name: e[0], Value: e[1]})
		}
	}
	spec.InitContainers = []corev1.Container{initial}
	spec.Containers = []corev1.Container{wait, main}
	if tmpl.PodSpecPatch != "" {
		patches = append(patches, tmpl.PodSpecPatch)
	}
	patched, err := util.ApplyPodSpecPatch(*spec, patches...)
	if err != nil {
		t.Fatal(err)
	}
	return patched
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// mainOf is the container that Argo calls main.
func mainOf(t *testing.T, spec *corev1.PodSpec) corev1.Container {
	t.Helper()
	i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == common.MainContainerName })
	if i < 0 {
		t.Fatal("the pod has no container main")
	}
	return spec.Containers[i]
}
