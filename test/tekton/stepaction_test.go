package tekton_test

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/slipway-build/slipway/test/tekton/taskrun"
)

// stepResults are where Tekton has a step write its results.
const stepResults = "/tekton/steps/step-build/results/"

// caller turns the Task into one that calls the StepAction of the same name and hands its results on.
func caller(action *v1beta1.StepAction) func(*v1.Task) {
	return func(task *v1.Task) {
		params := v1.Params{{Name: "source-path", Value: *v1.NewStructuredValues("$(workspaces.source.path)")}}
		for _, p := range task.Spec.Params {
			reference := v1.NewStructuredValues("$(params." + p.Name + ")")
			if p.Type == v1.ParamTypeArray {
				reference = &v1.ParamValue{Type: v1.ParamTypeArray, ArrayVal: []string{"$(params." + p.Name + "[*])"}}
			}
			params = append(params, v1.Param{Name: p.Name, Value: *reference})
		}
		task.Spec.Steps = []v1.Step{{Name: "build", Ref: &v1.Ref{Name: action.Name}, Params: params}}
		task.Spec.Workspaces = []v1.WorkspaceDeclaration{{Name: "source"}}
		for i, r := range task.Spec.Results {
			task.Spec.Results[i].Value = v1.NewStructuredValues("$(steps.build.results." + r.Name + ")")
		}
	}
}

// action is the StepAction, as it is in the cluster.
func action(t *testing.T, name string) *v1beta1.StepAction {
	t.Helper()
	found, ok := installed[*v1beta1.StepAction](t)[name]
	if !ok {
		t.Fatalf("there is no StepAction %s", name)
	}
	found = found.DeepCopy()
	found.Namespace = taskrun.Namespace
	return found
}

func called(t *testing.T, b build) build {
	t.Helper()
	a := action(t, "slipway")
	b.objects = []runtime.Object{a}
	b.change = caller(a)
	return b
}

// TestStepActionIsTheTask compares the Pod of a Task that calls the StepAction with that of the Task itself.
func TestStepActionIsTheTask(t *testing.T) {
	b := minimal()
	b.params = map[string]any{
		"IMAGE": image, "TARGET": "stage", "TAGS": []string{"t1", "t2"}, "BUILD_ARGS": []string{"A=1 2"}, "EXTRA_ARGS": []string{"--no-cache"},
	}
	of := func(b build) corev1.Container {
		p := podOf(t, b)
		if len(p.Spec.InitContainers) != 1 || len(p.Spec.Containers) != 1 {
			t.Fatalf("init containers: %v, containers: %v", p.Spec.InitContainers, p.Spec.Containers)
		}
		return p.Spec.Containers[0]
	}
	task, step := of(b), of(called(t, b))
	ours := func(c corev1.Container) []string { return c.Args[slices.Index(c.Args, "--")+1:] }
	args := ours(step)
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, stepResults, "/tekton/results/")
	}
	if !slices.Equal(args, ours(task)) {
		t.Errorf("the StepAction has the arguments\n%q\nthe Task has\n%q", args, ours(task))
	}
	if step.Image != task.Image || !equality.Semantic.DeepEqual(step.SecurityContext, task.SecurityContext) {
		t.Errorf("image %s, security context %+v; the Task's are %s, %+v", step.Image, step.SecurityContext, task.Image, task.SecurityContext)
	}
	if !slices.ContainsFunc(step.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "state" && m.MountPath == "/slipway" }) {
		t.Errorf("no volume for the state: %v", step.VolumeMounts)
	}
}

// TestStepAction runs a Task that calls the StepAction. The results of the step are those of the Task.
func TestStepAction(t *testing.T) {
	b := called(t, build{
		params: map[string]any{"IMAGE": image, "BUILD_ARGS": []string{"GREETING=hello"}, "TAGS": []string{"REGISTRY/team/app:v1.0"}},
		source: map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nARG GREETING\nRUN echo $GREETING > /greeting\n"},
	})
	o := b.run(t)
	o.succeeded(t)
	checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, []string{"REGISTRY/team/app:v1.0"}))), map[string]string{"greeting": "hello\n"})
	if len(o.status.Steps) != 1 || len(o.status.Steps[0].Results) != len(o.results) {
		t.Errorf("the steps are %+v, want %d results", o.status.Steps, len(o.results))
	}
}
