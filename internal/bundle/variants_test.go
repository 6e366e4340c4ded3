package bundle

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// definitionYAML is what the tests look at in Tasks and StepActions, whose step is the spec itself.
type definitionYAML struct {
	Metadata struct {
		Name        string
		Labels      map[string]string
		Annotations map[string]string
	}
	Spec struct {
		Params     []paramYAML
		Workspaces []Workspace
		Results    []Result
		Volumes    []map[string]any
		Steps      []stepYAML
		stepYAML   `yaml:",inline"`
	}
}

type paramYAML struct {
	Name, Type, Description string
	Default                 any
}

type stepYAML struct {
	Image            string
	Command, Args    []string
	SecurityContext  map[string]any      `yaml:"securityContext"`
	ComputeResources map[string]any      `yaml:"computeResources"`
	VolumeMounts     []map[string]string `yaml:"volumeMounts"`
}

func decode(t *testing.T, file string) definitionYAML {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	var d definitionYAML
	if err := yaml.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func names[T any](list []T, name func(T) string) []string {
	var all []string
	for _, e := range list {
		all = append(all, name(e))
	}
	return all
}

// What the Task does with a workspace or a result, the StepAction does with the parameter or the
// result that stands for it; everything else is the same.
func TestStepActionAgreesWithTask(t *testing.T) {
	task, step := decode(t, taskFile), decode(t, stepFile)
	body := task.Spec.Steps[0]

	own := map[string]any{}
	params := map[string]paramYAML{}
	for _, p := range step.Spec.Params {
		params[p.Name] = p
	}
	for _, w := range task.Spec.Workspaces {
		p, ok := params[w.Name+"-path"]
		if !ok || p.Type != "string" {
			t.Errorf("no parameter of type string stands for the workspace %s", w.Name)
		}
		if w.Optional != (p.Default != nil) || p.Default != nil && p.Default != "" {
			t.Errorf("%s has the default %v for a workspace that is optional: %t", p.Name, p.Default, w.Optional)
		}
		own[p.Name] = nil
	}
	own[volumeParam] = nil
	if got, want := len(step.Spec.Params), len(own)+len(task.Spec.Params); got != want {
		t.Errorf("%d parameters, want %d", got, want)
	}
	for _, want := range task.Spec.Params {
		got := params[want.Name]
		if strings.Contains(got.Description, "workspace") {
			t.Errorf("%s speaks of workspaces: %s", got.Name, got.Description)
		}
		got.Description, want.Description = "", ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("parameter %+v, want %+v", got, want)
		}
	}
	if !reflect.DeepEqual(step.Spec.Results, task.Spec.Results) {
		t.Errorf("results %+v, want %+v", step.Spec.Results, task.Spec.Results)
	}

	var want []string
	for _, a := range body.Args {
		for _, w := range task.Spec.Workspaces {
			a = strings.ReplaceAll(a, "$(workspaces."+w.Name+".path)", "$(params."+w.Name+"-path)")
		}
		want = append(want, strings.ReplaceAll(a, "$(results.", "$(step.results."))
	}
	if !slices.Equal(step.Spec.Args, want) {
		t.Errorf("arguments\n%s\nwant\n%s", strings.Join(step.Spec.Args, "\n"), strings.Join(want, "\n"))
	}
	if step.Spec.Image != body.Image || !slices.Equal(step.Spec.Command, body.Command) {
		t.Errorf("runs %s in %s, want %s in %s", step.Spec.Command, step.Spec.Image, body.Command, body.Image)
	}
	if !reflect.DeepEqual(step.Spec.SecurityContext, body.SecurityContext) {
		t.Errorf("securityContext %v, want %v", step.Spec.SecurityContext, body.SecurityContext)
	}
	if got := step.Spec.VolumeMounts; len(got) != 1 || got[0]["name"] != "$(params.state-volume)" || got[0]["mountPath"] != body.VolumeMounts[0]["mountPath"] {
		t.Errorf("mounts %v", got)
	}
	if len(step.Spec.Steps)+len(step.Spec.Workspaces)+len(step.Spec.Volumes)+len(step.Spec.ComputeResources) != 0 {
		t.Error("the StepAction has fields that only a Task can have")
	}
}

// Every parameter and workspace of a Task is used by its step, and every result is written, and nothing is
// used that is not declared.
func TestTasksUseWhatTheyDeclare(t *testing.T) {
	for _, file := range []string{taskFile, openShiftFile, restrictedFile, "task/slipway-index/slipway-index.yaml"} {
		task := decode(t, file)
		step := task.Spec.Steps[0]
		used := strings.Join(append(step.Args, step.Image), "\n")
		declared := map[string]bool{}
		for _, p := range task.Spec.Params {
			v := "$(params." + p.Name + ")"
			if p.Type == "array" {
				v = "$(params." + p.Name + "[*])"
			}
			declared[v] = true
		}
		for _, w := range task.Spec.Workspaces {
			declared["$(workspaces."+w.Name+".path)"] = true
		}
		for _, r := range task.Spec.Results {
			declared["--result="+r.Name+"=$(results."+r.Name+".path)"] = true
		}
		for v := range declared {
			if strings.Count(used, v) != 1 {
				t.Errorf("%s: %s is used %d times", file, v, strings.Count(used, v))
			}
		}
		if got := strings.Count(used, "$("); got != len(declared) {
			t.Errorf("%s: %d variables are used, %d declared", file, got, len(declared))
		}
	}
}

// The variant differs from the Task in what OpenShift asks for, and in its name, and in nothing else.
func TestOpenShiftVariant(t *testing.T) {
	task, variant := decode(t, taskFile), decode(t, openShiftFile)
	if variant.Metadata.Name != "slipway-openshift" || !maps.Equal(variant.Metadata.Labels, task.Metadata.Labels) {
		t.Errorf("metadata %+v", variant.Metadata)
	}
	for key, want := range map[string]string{"io.kubernetes.cri-o.userns-mode": "auto", "io.openshift.builder": "true"} {
		if got := variant.Metadata.Annotations[key]; got != want {
			t.Errorf("annotation %s: %q, want %q", key, got, want)
		}
	}
	got := variant.Spec.Steps[0].SecurityContext
	want := map[string]any{
		"runAsUser": 0, "privileged": false, "allowPrivilegeEscalation": false,
		"capabilities": map[string]any{"add": []any{"SETFCAP"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("securityContext %v, want %v", got, want)
	}
	variant.Spec.Steps[0].SecurityContext = task.Spec.Steps[0].SecurityContext
	if !reflect.DeepEqual(variant.Spec, task.Spec) {
		t.Errorf("the variant differs in more than its securityContext:\n%+v\nthe Task is\n%+v", variant.Spec, task.Spec)
	}
}

// The variant differs from the Task in what the Pod Security Standard "restricted" demands, in the isolation that works
// with that, and in its name, and in nothing else.
func TestRestrictedVariant(t *testing.T) {
	task, variant := decode(t, taskFile), decode(t, restrictedFile)
	if variant.Metadata.Name != "slipway-restricted" || !maps.Equal(variant.Metadata.Labels, task.Metadata.Labels) {
		t.Errorf("metadata %+v", variant.Metadata)
	}
	want := map[string]any{
		"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "privileged": false, "allowPrivilegeEscalation": false,
		"capabilities":   map[string]any{"drop": []any{"ALL"}},
		"seccompProfile": map[string]any{"type": "RuntimeDefault"},
	}
	if got := variant.Spec.Steps[0].SecurityContext; !reflect.DeepEqual(got, want) {
		t.Errorf("securityContext %v, want %v", got, want)
	}
	variant.Spec.Steps[0].SecurityContext = task.Spec.Steps[0].SecurityContext
	i := slices.IndexFunc(task.Spec.Params, func(p paramYAML) bool { return p.Name == "ISOLATION" })
	if variant.Spec.Params[i].Default != "sandbox" {
		t.Errorf("ISOLATION is %v", variant.Spec.Params[i].Default)
	}
	variant.Spec.Params[i].Default = task.Spec.Params[i].Default
	if !reflect.DeepEqual(variant.Spec, task.Spec) {
		t.Errorf("the variant differs in more:\n%+v\nthe Task is\n%+v", variant.Spec, task.Spec)
	}
}

// The steps of a Pipeline that refer to the StepAction, and the tasks that refer to Tasks of ours, give
// only parameters that these have, and all that they must be given.
func TestPipelinesGiveTheRightParameters(t *testing.T) {
	type ref struct {
		Params []struct{ Name, Value string }
	}
	type user struct {
		Name       string
		Ref        ref
		TaskRef    ref `yaml:"taskRef"`
		Params     []struct{ Name string }
		Workspaces []struct{ Name string }
		Matrix     struct {
			Params []struct{ Name string }
		}
		TaskSpec struct{ Steps []yaml.Node } `yaml:"taskSpec"`
	}
	definitions, err := Load(os.DirFS(top))
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string]*Definition{}
	for _, d := range definitions {
		byPath[d.Path] = d
	}
	checked := 0
	check := func(where string, u user) {
		for _, p := range slices.Concat(u.Ref.Params, u.TaskRef.Params) {
			d := byPath[p.Value]
			if p.Name != "pathInRepo" || d == nil {
				continue
			}
			checked++
			given := slices.Concat(names(u.Params, func(p struct{ Name string }) string { return p.Name }),
				names(u.Matrix.Params, func(p struct{ Name string }) string { return p.Name }))
			known := names(d.Params, func(p Param) string { return p.Name })
			for _, name := range given {
				if !slices.Contains(known, name) {
					t.Errorf("%s gives %s to %s, which does not have it", where, name, d.Path)
				}
			}
			for _, p := range d.Params {
				if p.Default == nil && !slices.Contains(given, p.Name) {
					t.Errorf("%s does not give %s to %s", where, p.Name, d.Path)
				}
			}
			bound := names(u.Workspaces, func(w struct{ Name string }) string { return w.Name })
			for _, w := range d.Workspaces {
				if !w.Optional && !slices.Contains(bound, w.Name) {
					t.Errorf("%s does not bind %s of %s", where, w.Name, d.Path)
				}
			}
		}
	}
	for _, d := range definitions {
		if d.Kind != Pipeline {
			continue
		}
		var p struct{ Spec struct{ Tasks []user } }
		if err := yaml.Unmarshal(d.Data, &p); err != nil {
			t.Fatal(err)
		}
		for _, task := range p.Spec.Tasks {
			check(d.Path+": task "+task.Name, task)
			for _, n := range task.TaskSpec.Steps {
				var step user
				if err := n.Decode(&step); err != nil {
					t.Fatal(err)
				}
				check(d.Path+": step "+step.Name, step)
			}
		}
	}
	if checked != 5 {
		t.Errorf("%d references to our own definitions checked, want 5", checked)
	}
}
