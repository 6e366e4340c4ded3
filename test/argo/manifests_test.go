package argo

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
)

// top is the repository.
const top = "../.."

// manifests are all objects for Argo Workflows in the repository, by the file they are in.
type manifests struct {
	templates        map[string]*wfv1.WorkflowTemplate
	clusterTemplates map[string]*wfv1.ClusterWorkflowTemplate
	workflows        map[string]*wfv1.Workflow
}

// readManifests reads them strictly: an unknown field is an error.
func readManifests(t *testing.T) manifests {
	t.Helper()
	m := manifests{
		templates:        map[string]*wfv1.WorkflowTemplate{},
		clusterTemplates: map[string]*wfv1.ClusterWorkflowTemplate{},
		workflows:        map[string]*wfv1.Workflow{},
	}
	for path, data := range yamlFiles(t, "argo", "examples/argo") {
		if filepath.Base(path) == "artifacthub-pkg.yml" || filepath.Base(path) == "artifacthub-repo.yml" {
			continue
		}
		objects := common.ParseObjects(data, true)
		if len(objects) == 0 {
			t.Errorf("%s has no object of Argo", path)
		}
		for _, o := range objects {
			if o.Err != nil {
				t.Fatalf("%s: %v", path, o.Err)
			}
			switch object := o.Object.(type) {
			case *wfv1.WorkflowTemplate:
				m.templates[path] = object
			case *wfv1.ClusterWorkflowTemplate:
				m.clusterTemplates[path] = object
			case *wfv1.Workflow:
				m.workflows[path] = object
			default:
				t.Errorf("%s has a %T", path, object)
			}
		}
	}
	return m
}

// yamlFiles reads the YAML files below directories of the repository.
func yamlFiles(t *testing.T, dirs ...string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, dir := range dirs {
		before := len(files)
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if ext := filepath.Ext(path); d.IsDir() || (ext != ".yaml" && ext != ".yml") {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(top, path)
			files[name] = data
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == before {
			t.Fatalf("no YAML below %s", dir)
		}
	}
	return files
}

// slipway is the WorkflowTemplate that all of this is about.
func slipway(t *testing.T) *wfv1.WorkflowTemplate {
	t.Helper()
	const path = "argo/slipway/manifests.yaml"
	w, ok := readManifests(t).templates[path]
	if !ok {
		t.Fatalf("%s has no WorkflowTemplate", path)
	}
	return w
}

// templateNamed is a copy of one of the templates of a WorkflowTemplate.
func templateNamed(t *testing.T, w *wfv1.WorkflowTemplate, name string) *wfv1.Template {
	t.Helper()
	tmpl := w.GetTemplateByName(name)
	if tmpl == nil {
		t.Fatalf("%s has no template %s", w.Name, name)
	}
	return tmpl.DeepCopy()
}

// namespaced finds WorkflowTemplates by their names, as a namespace would.
type namespaced map[string]*wfv1.WorkflowTemplate

// Get implements Argo's interface for that.
func (n namespaced) Get(name string) (*wfv1.WorkflowTemplate, error) {
	for _, w := range n {
		if w.Name == name {
			return w, nil
		}
	}
	return nil, fmt.Errorf("no WorkflowTemplate %s", name)
}

// clusterScoped finds ClusterWorkflowTemplates.
type clusterScoped map[string]*wfv1.ClusterWorkflowTemplate

// Get implements Argo's interface for that.
func (c clusterScoped) Get(name string) (*wfv1.ClusterWorkflowTemplate, error) {
	for _, w := range c {
		if w.Name == name {
			return w, nil
		}
	}
	return nil, fmt.Errorf("no ClusterWorkflowTemplate %s", name)
}
