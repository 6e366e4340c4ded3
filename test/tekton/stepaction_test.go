package tekton_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/slipway-build/slipway/test/tekton/taskrun"
)

// stepResults are where Tekton has a step write its results.
const stepResults = "/tekton/steps/step-build/results/"

// caller turns the Task into one that calls the StepAction of the same name with all that it is given, and hands its results on.
func caller(action *v1beta1.StepAction) func(*v1.Task) {
	return func(task *v1.Task) {
		var params v1.Params
		for _, w := range task.Spec.Workspaces {
			params = append(params, v1.Param{Name: w.Name + "-path", Value: *v1.NewStructuredValues("$(workspaces." + w.Name + ".path)")})
		}
		for _, p := range task.Spec.Params {
			reference := v1.NewStructuredValues("$(params." + p.Name + ")")
			if p.Type == v1.ParamTypeArray {
				reference = &v1.ParamValue{Type: v1.ParamTypeArray, ArrayVal: []string{"$(params." + p.Name + "[*])"}}
			}
			params = append(params, v1.Param{Name: p.Name, Value: *reference})
		}
		task.Spec.Steps = []v1.Step{{Name: "build", Ref: &v1.Ref{Name: action.Name}, Params: params}}
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
		"CACHE_MOUNTS": []string{"off", "go=both"}, "CACHE_MOUNT_MAX_SIZE": "2g",
	}
	b.claims = []string{"base-images", "cache"}
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

// lintSample is the sample that checks a Dockerfile before it builds it.
const lintSample = "stepaction/slipway/samples/lint-and-build.yaml"

// TestLintSample runs the sample with a Dockerfile that breaks one of BuildKit's rules, and with one that breaks none.
func TestLintSample(t *testing.T) {
	for name, test := range map[string]struct {
		dockerfile string
		code       int
		log        string
	}{
		"no finding": {scratch, 0, ""},
		"finding":    {strings.Replace(scratch, "FROM scratch", "FROM scratch As made", 1), 1, "FromAsCasing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := serve(t).Host
			o := build{
				source:  map[string]string{"Dockerfile": test.dockerfile, "file": ""},
				objects: []runtime.Object{action(t, "slipway")},
				change:  func(task *v1.Task) { task.Spec = *sampleSpec(t, fill(image, host)) },
			}.runAt(t, host)
			if o.step.ExitCode != test.code || !strings.Contains(o.log(), test.log) {
				t.Errorf("the first step: exit code %d\n%s", o.step.ExitCode, o.log())
			}
			if c := o.status.GetCondition("Succeeded"); c == nil || c.IsTrue() != (test.code == 0) {
				t.Errorf("the TaskRun's condition is %+v", c)
			}
			if test.code != 0 {
				o.notPushed(t, image)
				return
			}
			if _, err := remote.Head(reference(t, fill(image, host)), remote.WithContext(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

// sampleSpec is the Task in the sample, with another image.
func sampleSpec(t *testing.T, image string) *v1.TaskSpec {
	t.Helper()
	for _, d := range all(t) {
		run, ok := d.Object.(*v1.TaskRun)
		if d.Path != lintSample || !ok {
			continue
		}
		spec := run.Spec.TaskSpec.DeepCopy()
		for i, p := range spec.Steps[1].Params {
			if p.Name == "IMAGE" {
				spec.Steps[1].Params[i].Value = *v1.NewStructuredValues(image)
			}
		}
		return spec
	}
	t.Fatalf("%s is not there", lintSample)
	return nil
}
