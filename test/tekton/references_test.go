package tekton_test

import (
	"slices"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"

	"github.com/slipway-build/slipway/test/tekton/definition"
)

// ours is the repository that references to our definitions name.
const ours = "https://github.com/slipway-build/slipway"

// use is a reference to a definition, with what is given to it.
type use struct {
	kind       string // of the definition
	name       string // if it is one of the same namespace
	resolver   v1.ResolverRef
	params     v1.Params
	matrix     *v1.Matrix
	workspaces []string
}

// usesIn lists the references in a definition.
func usesIn(d definition.Definition) []use {
	switch object := d.Object.(type) {
	case *v1.TaskRun:
		if ref := object.Spec.TaskRef; ref != nil {
			return []use{{kind: "Task", name: ref.Name, resolver: ref.ResolverRef, params: object.Spec.Params, workspaces: bound(object.Spec.Workspaces)}}
		}
		return usesOfSteps(object.Spec.TaskSpec.Steps)
	case *v1.PipelineRun:
		if ref := object.Spec.PipelineRef; ref != nil {
			return []use{{kind: "Pipeline", name: ref.Name, resolver: ref.ResolverRef, params: object.Spec.Params, workspaces: bound(object.Spec.Workspaces)}}
		}
		return usesOfTasks(object.Spec.PipelineSpec)
	case *v1.Pipeline:
		return usesOfTasks(&object.Spec)
	}
	return nil
}

func usesOfTasks(spec *v1.PipelineSpec) []use {
	var uses []use
	for _, task := range append(slices.Clone(spec.Tasks), spec.Finally...) {
		if task.TaskSpec != nil {
			uses = append(uses, usesOfSteps(task.TaskSpec.Steps)...)
		}
		if task.TaskRef == nil {
			continue
		}
		u := use{kind: "Task", name: task.TaskRef.Name, resolver: task.TaskRef.ResolverRef, params: task.Params, matrix: task.Matrix}
		for _, w := range task.Workspaces {
			u.workspaces = append(u.workspaces, w.Name)
		}
		uses = append(uses, u)
	}
	return uses
}

func usesOfSteps(steps []v1.Step) []use {
	var uses []use
	for _, step := range steps {
		if step.Ref != nil {
			uses = append(uses, use{kind: "StepAction", name: step.Ref.Name, resolver: step.Ref.ResolverRef, params: step.Params})
		}
	}
	return uses
}

func bound(bindings []v1.WorkspaceBinding) []string {
	var names []string
	for _, b := range bindings {
		names = append(names, b.Name)
	}
	return names
}

// find finds what is used, and says whether it is one of ours.
func (u use) find(t *testing.T, all []definition.Definition) (definition.Object, bool) {
	t.Helper()
	params := map[string]string{}
	for _, p := range u.resolver.Params {
		params[p.Name] = p.Value.StringVal
	}
	if u.resolver.Resolver != "" && params["url"] != ours {
		return nil, false
	}
	for _, d := range all {
		if d.IsSample() || d.Kind() != u.kind {
			continue
		}
		if u.resolver.Resolver == "" && d.Object.GetName() != u.name || u.resolver.Resolver != "" && d.Path != params["pathInRepo"] {
			continue
		}
		if version := "v" + d.Object.GetLabels()["app.kubernetes.io/version"]; u.resolver.Resolver != "" && params["revision"] != version {
			t.Errorf("%s is used at %s, and is %s", d.Path, params["revision"], version)
		}
		return d.Object, true
	}
	t.Errorf("there is no %s %s%s", u.kind, u.name, params["pathInRepo"])
	return nil, false
}

// TestReferencesFitTheDefinitions holds what Pipelines, runs and samples give to our definitions against what these ask
// for: Tekton passes over parameters that a Task does not have.
func TestReferencesFitTheDefinitions(t *testing.T) {
	found := all(t)
	checked := map[string]bool{}
	for _, d := range found {
		t.Run(d.Path, func(t *testing.T) {
			for _, u := range usesIn(d) {
				object, ok := u.find(t, found)
				if !ok {
					continue
				}
				checked[u.kind] = true
				u.check(t, object)
			}
		})
	}
	for _, kind := range []string{"Task", "StepAction", "Pipeline"} {
		if !checked[kind] {
			t.Errorf("nothing refers to a %s of ours", kind)
		}
	}
}

func (u use) check(t *testing.T, object definition.Object) {
	t.Helper()
	var params v1.ParamSpecs
	workspaces := map[string]bool{} // whether they are optional
	switch object := object.(type) {
	case *v1.Task:
		params = object.Spec.Params
		for _, w := range object.Spec.Workspaces {
			workspaces[w.Name] = w.Optional
		}
	case *v1beta1.StepAction:
		params = object.Spec.Params
	case *v1.Pipeline:
		params = object.Spec.Params
		for _, w := range object.Spec.Workspaces {
			workspaces[w.Name] = w.Optional
		}
	}
	given := slices.Concat(u.params, u.matrix.GetAllParams())
	for _, p := range given {
		if !slices.ContainsFunc(params, func(s v1.ParamSpec) bool { return s.Name == p.Name }) {
			t.Errorf("%s has no parameter %s", object.GetName(), p.Name)
		}
	}
	for _, s := range params {
		if s.Default == nil && !slices.ContainsFunc(given, func(p v1.Param) bool { return s.Name == p.Name }) {
			t.Errorf("%s needs the parameter %s", object.GetName(), s.Name)
		}
	}
	for _, name := range u.workspaces {
		if _, ok := workspaces[name]; !ok {
			t.Errorf("%s has no workspace %s", object.GetName(), name)
		}
	}
	for name, optional := range workspaces {
		if !optional && !slices.Contains(u.workspaces, name) {
			t.Errorf("%s needs the workspace %s", object.GetName(), name)
		}
	}
}
