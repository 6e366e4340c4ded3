package catlin

import (
	"fmt"
	"strings"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/test/tekton/definition"
)

// subject is what rules look at: what Task, StepAction and Pipeline have in common.
type subject struct {
	kind, path  string
	meta        metav1.Object
	description string
	steps       []step
}

// step is a step of a Task, of a Task within a Pipeline, or the one that a StepAction is.
type step struct {
	v1.Step

	name   string // for messages
	params v1.ParamSpecs
	inline bool // of a Task within a Pipeline
}

// subjectOf describes a definition, if it is of a kind that the catalog has.
func subjectOf(d definition.Definition) (*subject, error) {
	s := &subject{kind: d.Kind(), path: d.Path, meta: d.Object}
	switch object := d.Object.(type) {
	case *v1.Task:
		s.description = object.Spec.Description
		s.addSteps("", false, object.Spec)
	case *v1beta1.StepAction:
		s.description = object.Spec.Description
		s.steps = []step{{Step: *object.Spec.ToStep(), name: "the step", params: object.Spec.Params}}
	case *v1.Pipeline:
		s.description = object.Spec.Description
		for _, task := range append(object.Spec.Tasks, object.Spec.Finally...) {
			if task.TaskSpec != nil {
				s.addSteps("task "+task.Name+", ", true, task.TaskSpec.TaskSpec)
			}
		}
	default:
		return nil, fmt.Errorf("%s: the catalog has no kind %s", d.Path, d.Kind())
	}
	return s, nil
}

func (s *subject) addSteps(prefix string, inline bool, spec v1.TaskSpec) {
	for i, st := range spec.Steps {
		name := st.Name
		if name == "" {
			name = fmt.Sprint(i)
		}
		s.steps = append(s.steps, step{Step: st, name: prefix + "step " + name, params: spec.Params, inline: inline})
	}
}

func (s *subject) annotation(key string) string { return s.meta.GetAnnotations()[key] }

// reference is the step's image where parameters have their defaults.
func (s *step) reference() string {
	image := s.Image
	for _, p := range s.params {
		if p.Default != nil && p.Default.Type == v1.ParamTypeString {
			image = strings.ReplaceAll(image, "$(params."+p.Name+")", p.Default.StringVal)
		}
	}
	return image
}
