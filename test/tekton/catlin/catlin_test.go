package catlin_test

import (
	"slices"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/test/tekton/catlin"
	"github.com/slipway-build/slipway/test/tekton/definition"
)

const (
	description = "Does something.\n\nAnd how."
	image       = "registry.example.com/tool:v1"
)

func meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:   "good",
		Labels: map[string]string{"app.kubernetes.io/version": "1.2.3"},
		Annotations: map[string]string{
			"tekton.dev/pipelines.minVersion": "0.50.0",
			"tekton.dev/categories":           "Image Build, Security",
			"tekton.dev/tags":                 "a, b",
			"tekton.dev/displayName":          "good",
			"tekton.dev/platforms":            "linux/amd64,linux/arm64",
			"artifacthub.io/category":         "integration-delivery",
			"artifacthub.io/license":          "Apache-2.0",
			"artifacthub.io/links":            "- {name: source, url: https://example.com}\n- {name: support, url: https://example.com/issues}\n",
		},
	}
}

func security() *corev1.SecurityContext { return &corev1.SecurityContext{RunAsUser: new(int64)} }

func goodTask() *v1.Task {
	return &v1.Task{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tekton.dev/v1", Kind: "Task"},
		ObjectMeta: meta(),
		Spec: v1.TaskSpec{
			Description: description,
			Params:      v1.ParamSpecs{{Name: "IMAGE", Type: v1.ParamTypeString, Default: v1.NewStructuredValues(image)}},
			Steps:       []v1.Step{{Name: "one", Image: "$(params.IMAGE)", Command: []string{"/tool"}, SecurityContext: security()}},
		},
	}
}

func goodStepAction() *v1beta1.StepAction {
	return &v1beta1.StepAction{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tekton.dev/v1beta1", Kind: "StepAction"},
		ObjectMeta: meta(),
		Spec:       v1beta1.StepActionSpec{Description: description, Image: image, Command: []string{"/tool"}, SecurityContext: security()},
	}
}

func goodPipeline() *v1.Pipeline {
	inline := v1.TaskSpec{Steps: []v1.Step{{Name: "one", Image: image, Script: "true"}, {Name: "two", Image: "$(params.ANY)"}}}
	return &v1.Pipeline{
		TypeMeta:   metav1.TypeMeta{APIVersion: "tekton.dev/v1", Kind: "Pipeline"},
		ObjectMeta: meta(),
		Spec: v1.PipelineSpec{
			Description: description,
			Tasks:       []v1.PipelineTask{{Name: "test", TaskSpec: &v1.EmbeddedTask{TaskSpec: inline}}},
		},
	}
}

func at(path string, object definition.Object) definition.Definition {
	return definition.Definition{Path: path, Object: object}
}

func TestGoodDefinitions(t *testing.T) {
	for _, d := range []definition.Definition{
		at("task/good/good.yaml", goodTask()),
		at("stepaction/good/good.yaml", goodStepAction()),
		at("pipelines/good/good.yaml", goodPipeline()),
	} {
		findings, err := catlin.Check(d)
		if err != nil || len(findings) > 0 {
			t.Errorf("%s: %v, %v", d.Path, findings, err)
		}
	}
	if _, err := catlin.Check(at("task/x/samples/run.yaml", &v1.TaskRun{})); err == nil {
		t.Error("a TaskRun can be in the catalog")
	}
}

// bad is a change by which a good definition breaks one rule.
type bad struct {
	rule string
	name string
	task func(*v1.Task)
}

func badTasks() []bad {
	annotate := func(key, value string) func(*v1.Task) {
		return func(task *v1.Task) { task.Annotations[key] = value }
	}
	step := func(change func(*v1.Step)) func(*v1.Task) {
		return func(task *v1.Task) { change(&task.Spec.Steps[0]) }
	}
	useImage := func(image string) func(*v1.Task) { return step(func(s *v1.Step) { s.Image = image }) }
	secret := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}
	return []bad{
		{"path", "another name", func(task *v1.Task) { task.Name = "else" }},
		{"version", "none", func(task *v1.Task) { task.Labels = nil }},
		{"version", "of another kind", func(task *v1.Task) { task.Labels["app.kubernetes.io/version"] = "v1" }},
		{"minimum version", "none", annotate("tekton.dev/pipelines.minVersion", "")},
		{"minimum version", "of another kind", annotate("tekton.dev/pipelines.minVersion", "0.50")},
		{"categories", "none", annotate("tekton.dev/categories", "")},
		{"categories", "an unknown one", annotate("tekton.dev/categories", "Image Build, Containers")},
		{"tags", "none", annotate("tekton.dev/tags", "")},
		{"display name", "none", annotate("tekton.dev/displayName", "")},
		{"platforms", "none", annotate("tekton.dev/platforms", "")},
		{"platforms", "a variant", annotate("tekton.dev/platforms", "linux/amd64,linux/arm/v7")},
		{"description", "none", func(task *v1.Task) { task.Spec.Description = "" }},
		{"description", "a summary alone", func(task *v1.Task) { task.Spec.Description = "Does something." }},
		{"hub category", "none", annotate("artifacthub.io/category", "")},
		{"hub category", "the catalog's", annotate("artifacthub.io/category", "Image Build")},
		{"license", "none", annotate("artifacthub.io/license", "")},
		{"links", "none for support", annotate("artifacthub.io/links", "- {name: source, url: https://example.com}\n")},
		{"links", "no list", annotate("artifacthub.io/links", "https://example.com")},
		{"image registry", "none", useImage("team/tool:v1")},
		{"image tag", "latest", useImage("registry.example.com/tool:latest")},
		{"image tag", "a digest alone", useImage("registry.example.com/tool@sha256:" + digits)},
		{"secret environment", "a variable", step(func(s *v1.Step) { s.Env = []corev1.EnvVar{{Name: "TOKEN", ValueFrom: secret}} })},
		{"secret environment", "a whole secret", step(func(s *v1.Step) { s.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}} })},
		{"parameters in script", "one", step(func(s *v1.Step) { s.Command, s.Script = nil, "echo $(params.IMAGE)" })},
		{"self-contained", "a reference", step(func(s *v1.Step) { s.Image, s.Ref = "", &v1.Ref{Name: "else"} })},
		{"no shell", "a script", step(func(s *v1.Step) { s.Command, s.Script = nil, "true" })},
		{"no shell", "no command", step(func(s *v1.Step) { s.Command = nil })},
		{"no working directory", "one", step(func(s *v1.Step) { s.WorkingDir = "/workspace" })},
		{"user", "not named", step(func(s *v1.Step) { s.SecurityContext = nil })},
	}
}

const digits = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestBadTasks(t *testing.T) {
	for _, b := range badTasks() {
		t.Run(b.rule+" "+b.name, func(t *testing.T) {
			task := goodTask()
			b.task(task)
			findings, err := catlin.Check(at("task/good/good.yaml", task))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(findings, func(f catlin.Finding) bool { return f.Rule == b.rule && f.Message != "" }) {
				t.Errorf("it is taken; findings: %v", findings)
			}
		})
	}
}

func TestEveryRuleIsTried(t *testing.T) {
	for _, rule := range catlin.Rules() {
		if !slices.ContainsFunc(badTasks(), func(b bad) bool { return b.rule == rule.Name }) {
			t.Errorf("no bad Task is for the rule %q", rule.Name)
		}
	}
}

func TestBadStepAction(t *testing.T) {
	action := goodStepAction()
	action.Spec.Image, action.Labels = "registry.example.com/tool:latest", nil
	findings, err := catlin.Check(at("stepaction/good.yaml", action))
	if err != nil {
		t.Fatal(err)
	}
	checkRules(t, findings, "path", "version", "image tag")
}

func TestBadPipeline(t *testing.T) {
	pipeline := goodPipeline()
	pipeline.Spec.Tasks[0].TaskSpec.Steps[0].Script = "echo $(params.IMAGE)"
	pipeline.Spec.Tasks[0].TaskSpec.Steps[0].Image = "tool"
	findings, err := catlin.Check(at("pipelines/good/good.yaml", pipeline))
	if err != nil {
		t.Fatal(err)
	}
	checkRules(t, findings, "image registry", "image tag", "parameters in script")
}

func checkRules(t *testing.T, findings []catlin.Finding, want ...string) {
	t.Helper()
	var rules []string
	for _, f := range findings {
		rules = append(rules, f.Rule)
	}
	if !slices.Equal(rules, want) {
		t.Errorf("the rules %q are broken, want %q: %v", rules, want, findings)
	}
}
