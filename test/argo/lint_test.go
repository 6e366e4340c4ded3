package argo

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argoproj/argo-events/pkg/apis/events/v1alpha1"
	"sigs.k8s.io/yaml"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
)

// What "argo lint --offline" finds.
func TestLint(t *testing.T) {
	m := readManifests(t)
	inNamespace, inCluster := namespaced(m.templates), clusterScoped(m.clusterTemplates)
	lint := validate.ValidateOpts{Lint: true}
	linted := 0
	check := func(path string, err error) {
		linted++
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, w := range m.templates {
		check(path, validate.ValidateWorkflowTemplate(inNamespace, inCluster, w, nil, lint))
	}
	for path, w := range m.clusterTemplates {
		check(path, validate.ValidateClusterWorkflowTemplate(inNamespace, inCluster, w, nil, lint))
	}
	for path, w := range m.workflows {
		check(path, validate.ValidateWorkflow(inNamespace, inCluster, w, nil, lint))
		// As it is submitted, which asks for more than linting does.
		check(path+" submitted", validate.ValidateWorkflow(inNamespace, inCluster, w, nil, validate.ValidateOpts{Submit: true}))
	}
	if linted < 2+2*5 {
		t.Errorf("linted only %d objects", linted)
	}
}

// The linter does find something.
func TestLintRefuses(t *testing.T) {
	m := readManifests(t)
	for path, w := range m.workflows {
		w = w.DeepCopy()
		// An output of a step that is not there.
		w.Spec.Templates = append(w.Spec.Templates, wfv1.Template{
			Name:      "broken",
			Container: slipway(t).GetTemplateByName("build").Container,
			Inputs:    wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "a", Value: wfv1.AnyStringPtr("{{steps.b.outputs.result}}")}}},
		})
		if err := validate.ValidateWorkflow(namespaced(m.templates), clusterScoped(m.clusterTemplates), w, nil, validate.ValidateOpts{Lint: true}); err == nil {
			t.Errorf("%s with a broken template was accepted", path)
		}
	}
}

// The ClusterWorkflowTemplate is the same for the whole cluster.
func TestClusterTemplateIsTheSame(t *testing.T) {
	m := readManifests(t)
	w, c := slipway(t), m.clusterTemplates["argo/slipway-cluster/manifests.yaml"]
	if c == nil {
		t.Fatal("there is none")
	}
	if !reflect.DeepEqual(w.Spec, c.Spec) || !reflect.DeepEqual(w.ObjectMeta, c.ObjectMeta) {
		t.Error("it differs in more than its kind")
	}
}

// Fields that version 4 does not have any more.
func TestNoRemovedFields(t *testing.T) {
	removed := []string{"schedule", "podPriority", "mutex", "semaphore"}
	for path, data := range yamlFiles(t, "argo", "examples/argo", "examples/argo-events") {
		var tree any
		if err := yaml.Unmarshal(data, &tree); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		walkKeys(tree, func(key string) {
			if slices.Contains(removed, key) {
				t.Errorf("%s has the field %s", path, key)
			}
		})
	}
}

func walkKeys(tree any, visit func(string)) {
	switch n := tree.(type) {
	case map[string]any:
		for key, value := range n {
			visit(key)
			walkKeys(value, visit)
		}
	case []any:
		for _, value := range n {
			walkKeys(value, visit)
		}
	}
}

// The sample for Argo Events has the fields of its types, and the Workflow in its Sensor is a good one.
func TestEvents(t *testing.T) {
	files := yamlFiles(t, "examples/argo-events")
	var source v1alpha1.EventSource
	if err := yaml.UnmarshalStrict(files["examples/argo-events/event-source.yaml"], &source); err != nil {
		t.Fatal(err)
	}
	var sensor v1alpha1.Sensor
	if err := yaml.UnmarshalStrict(files["examples/argo-events/sensor.yaml"], &sensor); err != nil {
		t.Fatal(err)
	}
	for _, d := range sensor.Spec.Dependencies {
		if _, ok := source.Spec.Github[d.EventName]; !ok || d.EventSourceName != source.Name {
			t.Errorf("the event source has no event for the dependency %s", d.Name)
		}
	}
	m := readManifests(t)
	for _, trigger := range sensor.Spec.Triggers {
		argo := trigger.Template.ArgoWorkflow
		resource, err := yaml.JSONToYAML(argo.Source.Resource.Value)
		if err != nil {
			t.Fatal(err)
		}
		var w wfv1.Workflow
		if err := yaml.UnmarshalStrict(resource, &w); err != nil {
			t.Fatal(err)
		}
		if err := validate.ValidateWorkflow(namespaced(m.templates), clusterScoped(m.clusterTemplates), &w, nil, validate.ValidateOpts{Lint: true}); err != nil {
			t.Error(err)
		}
		want := map[string]string{
			"spec.arguments.parameters.0.value": "git-revision",
			"spec.arguments.parameters.1.value": "image",
		}
		for _, p := range argo.Parameters {
			for i, argument := range w.Spec.Arguments.Parameters {
				if p.Dest == fmt.Sprintf("spec.arguments.parameters.%d.value", i) && want[p.Dest] == argument.Name {
					delete(want, p.Dest)
				}
			}
		}
		if len(want) > 0 {
			t.Errorf("nothing of the event goes to %v", want)
		}
	}
}

// What Artifact Hub demands of a package.
func TestArtifactHub(t *testing.T) {
	for _, name := range []string{"slipway", "slipway-cluster"} {
		files := yamlFiles(t, "argo/"+name)
		var p struct {
			Version, Name, DisplayName, CreatedAt, Description, License string
			ContainersImages                                            []struct{ Name, Image string }
			Annotations                                                 map[string]string
		}
		if err := yaml.Unmarshal(files["argo/"+name+"/artifacthub-pkg.yml"], &p); err != nil {
			t.Fatal(err)
		}
		if p.Name != name || p.DisplayName == "" || p.Description == "" || p.License != "Apache-2.0" {
			t.Errorf("%s: %+v", name, p)
		}
		if p.Annotations["argo/version"] != ">= 3.5" {
			t.Errorf("%s: argo/version is %q", name, p.Annotations["argo/version"])
		}
		if _, err := time.Parse(time.RFC3339, p.CreatedAt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w := slipway(t)
		if want := w.Labels["app.kubernetes.io/version"]; p.Version != want {
			t.Errorf("%s: version %s of the manifest's %s", name, p.Version, want)
		}
		for _, image := range p.ContainersImages {
			if want := w.GetTemplateByName("build").Inputs.GetParameterByName("builder-image").Value.String(); image.Image != want {
				t.Errorf("%s: image %s of the manifest's %s", name, image.Image, want)
			}
			if !strings.HasSuffix(image.Image, ":v"+p.Version) {
				t.Errorf("%s: image %s of version %s", name, image.Image, p.Version)
			}
		}
	}
}
