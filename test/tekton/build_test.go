package tekton_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	podtemplate "github.com/tektoncd/pipeline/pkg/apis/pipeline/pod"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/result"
	"github.com/tektoncd/pipeline/pkg/termination"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/test/pod"
	"github.com/slipway-build/slipway/test/tekton/definition"
	"github.com/slipway-build/slipway/test/tekton/node"
	"github.com/slipway-build/slipway/test/tekton/taskrun"
)

// build is a TaskRun and what is there for it. In texts, REGISTRY stands for the host of a registry that has the base
// image base:1.
type build struct {
	// task is the name of the Task; "slipway" if empty.
	task string
	// change changes the Task, if it is not nil.
	change func(*v1.Task)
	// params are the TaskRun's parameters, strings or lists of strings.
	params map[string]any
	// source is what the workspace source holds, by path; nil leaves the workspace away.
	source map[string]string
	// layout is a directory of the workspace source for an OCI layout with the base image; "" for none.
	layout string
	// workspaces are further workspaces, each bound to a Secret with these files.
	workspaces map[string]map[string]string
	// configMaps are further workspaces, each bound to a ConfigMap with these files.
	configMaps map[string]map[string]string
	// claims are further workspaces, each bound to a PersistentVolumeClaim of that name; claimDirs are the directories
	// behind them, which a build that runs needs.
	claims    []string
	claimDirs map[string]string
	// seccomp is SeccompDefault of the kubelet: with it, RUN cannot make namespaces.
	seccomp bool
	// private keeps the pod off the node's network.
	private bool
	// template changes the TaskRun's pod template, if it is not nil.
	template func(*podtemplate.Template)
	// flags are Tekton's feature flags.
	flags map[string]string
	// objects are what the cluster has beside the TaskRun.
	objects []runtime.Object
	// secrets are those of objects, for the node.
	secrets map[string]map[string]string
}

// outcome is what came of a build.
type outcome struct {
	// step is how the step ended.
	step pod.Result
	// results are those in the termination message, read with Tekton's code.
	results map[string]string
	// status is that of the TaskRun, as Tekton's controller makes it.
	status v1.TaskRunStatus
	// registry is the host of the registry.
	registry string
	// source is the directory behind the workspace source.
	source string
}

// log is what the step wrote.
func (o outcome) log() string { return o.step.Stdout + o.step.Stderr }

// serve starts a registry with the base image.
func serve(t *testing.T) *testbase.Registry {
	t.Helper()
	registry, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"base:1", "library/base:1"} { // the second as a mirror of Docker Hub has it
		if _, err := registry.Push(t.Context(), name, shared.base); err != nil {
			t.Fatal(err)
		}
	}
	return registry
}

// run runs the build to its end with a registry of its own.
func (b build) run(t *testing.T) outcome {
	t.Helper()
	return b.runAt(t, serve(t).Host)
}

func (b build) runAt(t *testing.T, registry string) outcome {
	t.Helper()
	s := b.start(t, registry)
	return s.wait()
}

// started is a build that runs.
type started struct {
	t          *testing.T
	ctx        context.Context
	controller *taskrun.Controller
	run        *taskrun.Run
	pod        *node.Pod
	registry   string
	source     string
}

// step is the container of the build's only step.
func (s *started) step() string { return s.run.Pod.Spec.Containers[0].Name }

// start starts the build's Pod.
func (b build) start(t *testing.T, registry string) *started {
	t.Helper()
	pod.Require(t)
	s := &started{t: t, registry: registry, source: b.sourceDir(t, registry)}
	s.run, s.controller, s.ctx = b.create(t, registry)
	n := &node.Node{
		Images:         shared.images,
		SeccompDefault: b.seccomp,
		Claims:         map[string]string{"source": s.source},
		Secrets:        map[string]map[string]string{},
		ConfigMaps:     map[string]map[string]string{},
	}
	maps.Copy(n.Claims, b.claimDirs)
	maps.Copy(n.Secrets, b.secrets)
	for workspace, files := range b.configMaps {
		n.ConfigMaps[workspace] = filled(files, registry)
	}
	for workspace, files := range b.workspaces {
		n.Secrets[workspace] = filled(files, registry)
	}
	s.pod = n.Start(t, s.run.Pod, func() {
		if err := s.controller.Start(s.ctx, s.run); err != nil {
			t.Fatal(err)
		}
	})
	return s
}

// create makes the Pod of the build.
func (b build) create(t *testing.T, registry string) (*taskrun.Run, *taskrun.Controller, context.Context) {
	t.Helper()
	ctx, err := definition.WithFlags(t.Context(), b.flags)
	if err != nil {
		t.Fatal(err)
	}
	task := task(t, cmp.Or(b.task, "slipway")).DeepCopy()
	if b.change != nil {
		b.change(task)
	}
	controller := taskrun.NewController(b.objects...)
	run, err := controller.Create(ctx, task, b.taskRun(task.Name, registry))
	if err != nil {
		t.Fatal(err)
	}
	return run, controller, ctx
}

func (b build) taskRun(task, registry string) *v1.TaskRun {
	template := &podtemplate.Template{HostNetwork: !b.private}
	if b.template != nil {
		b.template(template)
	}
	run := &v1.TaskRun{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tekton.dev/v1", Kind: "TaskRun"},
		ObjectMeta: metav1.ObjectMeta{Name: "build"},
		Spec:       v1.TaskRunSpec{TaskRef: &v1.TaskRef{Name: task}, PodTemplate: template},
	}
	for _, name := range slices.Sorted(maps.Keys(b.params)) {
		run.Spec.Params = append(run.Spec.Params, v1.Param{Name: name, Value: value(b.params[name], registry)})
	}
	if b.source != nil {
		claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "source"}
		run.Spec.Workspaces = append(run.Spec.Workspaces, v1.WorkspaceBinding{Name: "source", PersistentVolumeClaim: claim})
	}
	for _, name := range slices.Sorted(maps.Keys(b.workspaces)) {
		secret := &corev1.SecretVolumeSource{SecretName: name}
		run.Spec.Workspaces = append(run.Spec.Workspaces, v1.WorkspaceBinding{Name: name, Secret: secret})
	}
	for _, name := range slices.Sorted(maps.Keys(b.configMaps)) {
		configMap := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
		run.Spec.Workspaces = append(run.Spec.Workspaces, v1.WorkspaceBinding{Name: name, ConfigMap: configMap})
	}
	for _, name := range b.claims {
		claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}
		run.Spec.Workspaces = append(run.Spec.Workspaces, v1.WorkspaceBinding{Name: name, PersistentVolumeClaim: claim})
	}
	return run
}

func value(v any, registry string) v1.ParamValue {
	if elements, ok := v.([]string); ok {
		filledElements := []string{}
		for _, e := range elements {
			filledElements = append(filledElements, fill(e, registry))
		}
		return v1.ParamValue{Type: v1.ParamTypeArray, ArrayVal: filledElements}
	}
	return *v1.NewStructuredValues(fill(v.(string), registry))
}

func fill(text, registry string) string { return strings.ReplaceAll(text, "REGISTRY", registry) }

func filled(files map[string]string, registry string) map[string]string {
	all := map[string]string{}
	for name, content := range files {
		all[name] = fill(content, registry)
	}
	return all
}

// sourceDir is the directory behind the workspace source, as a git clone by another user leaves it.
func (b build) sourceDir(t *testing.T, registry string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range b.source {
		path := filepath.Join(dir, filepath.FromSlash(name))
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(fill(content, registry)), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	if b.layout == "" {
		return dir
	}
	layoutDir, err := layout.Write(filepath.Join(dir, b.layout), empty.Index)
	if err == nil {
		err = layoutDir.AppendImage(shared.base)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wait waits for the end, and has Tekton make the TaskRun's status.
func (s *started) wait() outcome {
	s.t.Helper()
	o := outcome{step: s.pod.Wait()[s.step()], results: map[string]string{}, registry: s.registry, source: s.source}
	parsed, err := termination.ParseMessage(zap.NewNop().Sugar(), s.run.Pod.Status.ContainerStatuses[0].State.Terminated.Message)
	if err != nil {
		s.t.Fatalf("the termination message cannot be read: %v\n%s%s", err, o.step.TerminationLog, o.log())
	}
	for _, r := range parsed {
		if r.ResultType == result.TaskRunResultType || r.ResultType == result.StepResultType {
			o.results[r.Key] = r.Value
		}
	}
	if o.status, err = s.controller.Status(s.ctx, s.run); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// succeeded ends the test unless the build did what it should: Tekton says so too, and its results are those of the
// message.
func (o outcome) succeeded(t *testing.T) {
	t.Helper()
	if o.step.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", o.step.ExitCode, o.log())
	}
	if c := o.status.GetCondition("Succeeded"); c == nil || !c.IsTrue() {
		t.Errorf("the TaskRun's condition is %+v", c)
	}
	o.checkStatus(t)
	for _, r := range []string{"ERROR_REASON", "ERROR_MESSAGE"} {
		if value, ok := o.results[r]; !ok || value != "" {
			t.Errorf("%s is %q (there: %v) after a success", r, value, ok)
		}
	}
}

// checkStatus compares the TaskRun's results with those of the message.
func (o outcome) checkStatus(t *testing.T) {
	t.Helper()
	got := map[string]string{}
	for _, r := range o.status.Results {
		got[r.Name] = r.Value.StringVal
		if r.Value.Type == v1.ParamTypeObject {
			got[r.Name] = object(t, r.Value.ObjectVal)
		}
	}
	want := maps.Clone(o.results)
	for name, value := range want {
		if strings.HasPrefix(value, "{") {
			var fields map[string]string
			if err := json.Unmarshal([]byte(value), &fields); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			want[name] = object(t, fields)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the TaskRun has the results %q, the message has %q", got, want)
	}
}

// object is a value that is one, with its fields in order.
func object(t *testing.T, fields map[string]string) string {
	t.Helper()
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// failed checks how a build failed: its exit code, what the results say, and that they name no image.
func (o outcome) failed(t *testing.T, exitCode int, reason string, messageParts ...string) {
	t.Helper()
	if o.step.ExitCode != exitCode {
		t.Errorf("exit code %d, want %d\n%s", o.step.ExitCode, exitCode, o.log())
	}
	if c := o.status.GetCondition("Succeeded"); c == nil || !c.IsFalse() {
		t.Errorf("the TaskRun's condition is %+v", c)
	}
	o.checkStatus(t)
	want := []string{"ERROR_MESSAGE", "ERROR_REASON"}
	if reason == "" {
		want = nil
	}
	if names := slices.Sorted(maps.Keys(o.results)); !slices.Equal(names, want) {
		t.Errorf("the results are %q, want only %q", o.results, want)
	}
	if o.results["ERROR_REASON"] != reason {
		t.Errorf("ERROR_REASON is %q, want %q", o.results["ERROR_REASON"], reason)
	}
	for _, part := range messageParts {
		if part = fill(part, o.registry); !strings.Contains(o.results["ERROR_MESSAGE"], part) {
			t.Errorf("ERROR_MESSAGE does not say %q: %s", part, o.results["ERROR_MESSAGE"])
		}
	}
}
