package tekton_test

import (
	"strings"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"

	"github.com/slipway-build/slipway/test/tekton/catlin"
	"github.com/slipway-build/slipway/test/tekton/definition"
)

// all are the repository's definitions for Tekton.
func all(t *testing.T) []definition.Definition {
	t.Helper()
	found, err := definition.Find(repository, "task", "stepaction", "pipelines", "examples")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// installed are those that users install, of one kind.
func installed[T definition.Object](t *testing.T) map[string]T {
	t.Helper()
	objects := map[string]T{}
	for _, d := range all(t) {
		if object, ok := d.Object.(T); ok && !d.IsSample() {
			objects[object.GetName()] = object
		}
	}
	return objects
}

func task(t *testing.T, name string) *v1.Task {
	t.Helper()
	found, ok := installed[*v1.Task](t)[name]
	if !ok {
		t.Fatalf("there is no Task %s", name)
	}
	return found
}

// TestDefinitionsAreFound sees to it that the tests below are about something.
func TestDefinitionsAreFound(t *testing.T) {
	found := map[string]int{}
	for _, d := range all(t) {
		kind := d.Kind()
		if d.IsSample() {
			kind += " as sample"
		}
		found[kind]++
	}
	for _, kind := range []string{"Task", "StepAction", "Pipeline", "TaskRun as sample", "PipelineRun as sample"} {
		if found[kind] == 0 {
			t.Errorf("no %s is found", kind)
		}
	}
	for name := range installed[*v1beta1.StepAction](t) {
		if _, ok := installed[*v1.Task](t)[name]; !ok {
			t.Errorf("StepAction %s is not there as a Task", name)
		}
	}
}

// TestDefinitionsAreAdmitted treats each definition as Tekton's webhook does.
func TestDefinitionsAreAdmitted(t *testing.T) {
	for _, d := range all(t) {
		t.Run(d.Path, func(t *testing.T) {
			if err := admit(t, d.Object, "beta"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDefinitionsAreStable wants Tasks and StepActions that an installation takes which has only the stable features on,
// in place of the default, which is "beta". Of other definitions, such an installation must not say anything but that
// resolvers and matrices are not stable.
func TestDefinitionsAreStable(t *testing.T) {
	for _, d := range all(t) {
		t.Run(d.Path, func(t *testing.T) {
			err := admit(t, d.Object, "stable")
			if err == nil {
				return
			}
			if d.Kind() == "Task" || d.Kind() == "StepAction" {
				t.Error(err)
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.Contains(line, `requires "enable-api-fields" feature gate`) {
					t.Error(line)
				}
			}
		})
	}
}

func admit(t *testing.T, object definition.Object, fields string) error {
	t.Helper()
	ctx, err := definition.WithFlags(t.Context(), map[string]string{"enable-api-fields": fields})
	if err != nil {
		t.Fatal(err)
	}
	_, err = definition.Admit(ctx, object)
	return err
}

// TestDefinitionsKeepTheCatalogsRules holds what users install against the rules of the catalog.
func TestDefinitionsKeepTheCatalogsRules(t *testing.T) {
	for _, d := range all(t) {
		if d.IsSample() {
			continue
		}
		t.Run(d.Path, func(t *testing.T) {
			findings, err := catlin.Check(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range findings {
				t.Errorf("%s: %s", f.Rule, f.Message)
			}
		})
	}
}

// TestStrictDecoding tries the mistakes that a lenient reader passes over.
func TestStrictDecoding(t *testing.T) {
	const head = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: x}\n"
	for name, document := range map[string]string{
		"unknown field":             head + "spec: {steps: [{name: a, image: i, comand: [x]}]}\n",
		"field that is there twice": head + "spec: {description: a, description: b}\n",
		"unknown kind":              "apiVersion: tekton.dev/v1\nkind: Taks\nmetadata: {name: x}\n",
		"old version":               "apiVersion: tekton.dev/v1\nkind: StepAction\nmetadata: {name: x}\n",
		"mistake in a Secret":       head + "spec: {}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringdata: {}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if objects, err := definition.Decode([]byte(document)); err == nil {
				t.Errorf("it is read: %v", objects)
			}
		})
	}
}
