package argo

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/template"
)

// ran is a pod that a step had.
type ran struct {
	step    string
	spec    *corev1.PodSpec
	outcome outcome
}

// runSteps runs a template of steps to its end, or to the first failure: arguments are filled in with
// Argo's own code, loops and the scope of outputs follow its controller. It gives the template's outputs.
func runSteps(t *testing.T, cluster node, w *wfv1.WorkflowTemplate, name string, arguments wfv1.Arguments) (pods []ran, outputs map[string]string) {
	t.Helper()
	tmpl := instance(t, templateNamed(t, w, name), arguments, nil)
	scope := map[string]any{}
	for _, group := range tmpl.Steps {
		for _, step := range group.Steps {
			legs := expand(t, step, scope)
			lists := map[string][]string{}
			for _, leg := range legs {
				for i, a := range leg.Arguments.Artifacts {
					if a.From == "{{inputs.artifacts.source}}" {
						source := *tmpl.Inputs.GetArtifactByName("source")
						source.Name, source.Path = a.Name, ""
						leg.Arguments.Artifacts[i] = source
					}
				}
				spec := podOf(t, instance(t, templateNamed(t, w, leg.Template), leg.Arguments, nil))
				o := cluster.run(t, spec)
				pods = append(pods, ran{step: step.Name, spec: spec, outcome: o})
				if o.exitCode != 0 {
					return pods, nil
				}
				for key, value := range o.outputs {
					lists[key] = append(lists[key], value)
				}
			}
			for key, list := range lists {
				place := "steps." + step.Name + ".outputs.parameters." + key
				scope[place] = list[0]
				if step.ShouldExpand() {
					data, err := json.Marshal(list)
					if err != nil {
						t.Fatal(err)
					}
					scope[place] = string(data)
				}
			}
		}
	}
	outputs = map[string]string{}
	for _, p := range tmpl.Outputs.Parameters {
		var value string
		replace(t, p.ValueFrom.Parameter, &value, scope)
		outputs[p.Name] = value
	}
	return pods, outputs
}

// expand makes the steps of a loop, or the one step, with all that is known in place.
func expand(t *testing.T, step wfv1.WorkflowStep, scope map[string]any) []wfv1.WorkflowStep {
	t.Helper()
	items := []any{nil}
	if step.WithParam != "" {
		if err := json.Unmarshal([]byte(step.WithParam), &items); err != nil {
			t.Fatal(err)
		}
	}
	var legs []wfv1.WorkflowStep
	for _, item := range items {
		known := map[string]any{}
		for key, value := range scope {
			known[key] = value
		}
		if item != nil {
			known["item"] = item
		}
		var leg wfv1.WorkflowStep
		replace(t, step, &leg, known)
		legs = append(legs, leg)
	}
	return legs
}

// replace fills placeholders in.
func replace(t *testing.T, from, to any, known map[string]any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	// Of artifacts, the controller fills in "from" itself.
	known["inputs.artifacts.source"] = "{{inputs.artifacts.source}}"
	text, err := template.Replace(string(data), known, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

// argumentsOf are values and the source.
func argumentsOf(parameters map[string]string, source wfv1.Artifact) wfv1.Arguments {
	a := values(parameters)
	a.Artifacts = wfv1.Artifacts{source}
	return a
}
