// Package taskrun does what Tekton's controller does with a TaskRun, in the same order and with the controller's own
// functions: it makes a Pod of it, and later reads the Pod's status. Of the cluster there is only what these
// functions ask for.
package taskrun

import (
	"context"
	"fmt"

	"github.com/tektoncd/pipeline/pkg/apis/pipeline"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"github.com/tektoncd/pipeline/pkg/client/clientset/versioned"
	tektonfake "github.com/tektoncd/pipeline/pkg/client/clientset/versioned/fake"
	tektonpod "github.com/tektoncd/pipeline/pkg/pod"
	"github.com/tektoncd/pipeline/pkg/reconciler/taskrun"
	"github.com/tektoncd/pipeline/pkg/reconciler/taskrun/resources"
	"github.com/tektoncd/pipeline/pkg/workspace"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	kubefake "k8s.io/client-go/kubernetes/fake"

	"github.com/slipway-build/slipway/test/tekton/definition"
)

const (
	// Namespace is where everything is.
	Namespace = "builds"
	// EntrypointImage is the image with Tekton's entrypoint.
	EntrypointImage = "tekton.test/entrypoint:v1.15.0"
)

// Controller is Tekton's controller.
type Controller struct {
	kube   kubernetes.Interface
	tekton versioned.Interface
}

// NewController makes a controller for a cluster with these objects, which may be StepActions and Kubernetes' own, in
// [Namespace]. The service account "default" is there unless it is given.
func NewController(objects ...runtime.Object) *Controller {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "default"}}
	own, tektons := []runtime.Object{account}, []runtime.Object(nil)
	for _, object := range objects {
		switch object := object.(type) {
		case *v1beta1.StepAction:
			tektons = append(tektons, object)
		case *corev1.ServiceAccount:
			own[0] = object
		default:
			own = append(own, object)
		}
	}
	return &Controller{kube: kubefake.NewClientset(own...), tekton: tektonfake.NewSimpleClientset(tektons...)}
}

// Run is a TaskRun for which there is a Pod.
type Run struct {
	// Spec is the Task's, where all variables have got their values.
	Spec *v1.TaskSpec
	// Pod is what runs.
	Pod *corev1.Pod

	taskRun *v1.TaskRun
}

// Create makes the Pod for a run of a task. Both are admitted first, as by the webhook; a context says with which
// feature flags.
func (c *Controller) Create(ctx context.Context, task *v1.Task, run *v1.TaskRun) (*Run, error) {
	run = run.DeepCopy()
	run.Namespace = Namespace
	admittedRun, err := definition.Admit(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", run.Name, err)
	}
	admittedTask, err := definition.Admit(ctx, task)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", task.Name, err)
	}
	r := &Run{taskRun: admittedRun.(*v1.TaskRun)}
	resolved, err := c.resolve(ctx, admittedTask.(*v1.Task), r.taskRun)
	if err != nil {
		return nil, err
	}
	r.taskRun = resources.ApplyParametersToWorkspaceBindings(resolved.TaskSpec, r.taskRun)
	volumes := workspace.CreateVolumes(r.taskRun.Spec.Workspaces)
	r.Spec = substitute(ctx, resolved, r.taskRun, volumes)
	r.taskRun.Status.TaskSpec = r.Spec
	if r.Pod, err = c.createPod(ctx, r, volumes); err != nil {
		return nil, fmt.Errorf("run %s: %w", run.Name, err)
	}
	return r, nil
}

// resolve is the controller's method prepare: StepActions take the place of references to them, and what the run
// gives is held against what the task asks for.
func (c *Controller) resolve(ctx context.Context, task *v1.Task, run *v1.TaskRun) (*resources.ResolvedTask, error) {
	spec := task.Spec.DeepCopy()
	run.Annotations, run.Labels = union(task.Annotations, run.Annotations), union(task.Labels, run.Labels)
	steps, err := resources.GetStepActionsData(ctx, *spec, run, c.tekton, c.kube, nil)
	if err != nil {
		return nil, err
	}
	spec.Steps = steps
	resolved := &resources.ResolvedTask{TaskName: task.Name, TaskSpec: spec, Kind: v1.NamespacedTaskKind}
	if err := taskrun.ValidateResolvedTask(ctx, run.Spec.Params, &v1.Matrix{}, resolved); err != nil {
		return nil, err
	}
	if err := resources.ValidateParamArrayIndex(spec, run.Spec.Params); err != nil {
		return nil, err
	}
	return resolved, workspace.ValidateBindings(ctx, spec.Workspaces, run.Spec.Workspaces)
}

func union(low, high map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{low, high} {
		for key, value := range m {
			all[key] = value
		}
	}
	return all
}

// substitute is the controller's function applyParamsContextsResultsAndWorkspaces.
func substitute(ctx context.Context, task *resources.ResolvedTask, run *v1.TaskRun, volumes map[string]corev1.Volume) *v1.TaskSpec {
	spec := task.TaskSpec.DeepCopy()
	spec = resources.ApplyParameters(spec, run, spec.Params...)
	spec = resources.ApplyContexts(spec, task.TaskName, run)
	spec = resources.ApplyResults(spec)
	spec = resources.ApplyArtifacts(spec)
	spec = resources.ApplyStepExitCodePath(spec)
	return resources.ApplyWorkspaces(ctx, spec, spec.Workspaces, run.Spec.Workspaces, volumes)
}

// createPod is the controller's method of that name.
func (c *Controller) createPod(ctx context.Context, r *Run, volumes map[string]corev1.Volume) (*corev1.Pod, error) {
	spec := r.Spec.DeepCopy()
	if err := v1.ValidateUsageOfDeclaredParameters(ctx, spec.Steps, spec.Params); err != nil {
		return nil, err
	}
	if err := spec.Validate(ctx); err != nil {
		return nil, err
	}
	spec, err := workspace.Apply(ctx, *spec, r.taskRun.Spec.Workspaces, volumes)
	if err != nil {
		return nil, err
	}
	spec = resources.ApplyCredentialsPath(spec, pipeline.CredsDir)
	builder := tektonpod.Builder{
		Images: pipeline.Images{
			EntrypointImage:        EntrypointImage,
			SidecarLogResultsImage: "tekton.test/sidecarlogresults",
			NopImage:               "tekton.test/nop",
			ShellImage:             "tekton.test/shell",
			ShellImageWin:          "tekton.test/shell-win",
			WorkingDirInitImage:    "tekton.test/workingdirinit",
		},
		KubeClient: c.kube,
	}
	// It asks a registry for the command of an image whose step names none.
	if builder.EntrypointCache, err = tektonpod.NewEntrypointCache(c.kube); err != nil {
		return nil, err
	}
	pod, err := builder.Build(ctx, r.taskRun, *spec)
	if err != nil {
		return nil, err
	}
	return c.kube.CoreV1().Pods(Namespace).Create(ctx, pod, metav1.CreateOptions{})
}

// Start tells the first step of a Pod whose init containers have ended, and whose sidecars are there, that it may begin.
func (c *Controller) Start(ctx context.Context, r *Run) error {
	if err := tektonpod.UpdateReady(ctx, c.kube, *r.Pod); err != nil {
		return err
	}
	pod, err := c.kube.CoreV1().Pods(Namespace).Get(ctx, r.Pod.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	r.Pod.Annotations = pod.Annotations
	return nil
}

// Status is the TaskRun's status, when the Pod's says that all containers have ended.
func (c *Controller) Status(ctx context.Context, r *Run) (v1.TaskRunStatus, error) {
	return tektonpod.MakeTaskRunStatus(ctx, zap.NewNop().Sugar(), *r.taskRun.DeepCopy(), r.Pod, c.kube, r.Spec)
}
