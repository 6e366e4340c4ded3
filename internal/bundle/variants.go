package bundle

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The files that follow from taskFile.
const (
	taskFile      = "task/slipway/slipway.yaml"
	openShiftFile = "task/slipway-openshift/slipway-openshift.yaml"
	stepFile      = "stepaction/slipway/slipway.yaml"
)

// generated is the comment at the top of generated files.
func generated(source string) string {
	return "Generated from " + source + " by \"make generate\". Change that file, not this one."
}

// openShiftTask makes the variant of the Task that OpenShift's SecurityContextConstraint pipelines-scc
// admits: that one knows no capability to add but SETFCAP and no escalation of privilege, and has CRI-O
// give the pod a user namespace if an annotation asks for it.
func openShiftTask(task []byte) ([]byte, error) {
	m, annotations, err := taskVariant(task, openShiftFile, "slipway for OpenShift", "This is the variant for OpenShift: its pod fits the "+
		"SecurityContextConstraint pipelines-scc, and CRI-O gives it a user namespace of its own.")
	if err != nil {
		return nil, err
	}
	annotations.set("tekton.dev/tags", text("image-build, dockerfile, oci, kaniko, openshift"))
	annotations.set("tekton.dev/categories", text("Image Build, Openshift"))
	annotations.set("io.kubernetes.cri-o.userns-mode", text("auto"))
	annotations.set("io.openshift.builder", quoted("true"))
	security := newMapping()
	security.set("runAsUser", plain("0"))
	security.set("privileged", plain("false"))
	security.set("allowPrivilegeEscalation", plain("false"))
	capability := text("SETFCAP")
	capability.LineComment = "# file capabilities in images; mapping uid 0 into a user namespace"
	capabilities := newMapping()
	capabilities.set("add", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{capability}})
	security.set("capabilities", capabilities.Node)
	err = setSecurity(m, security, "What pipelines-scc admits. no-new-privileges, which allowPrivilegeEscalation: false means, takes setuid\n"+
		"programs and file capabilities away from RUN.")
	if err != nil {
		return nil, err
	}
	return encode(m, generated(taskFile))
}

// taskVariant reads the Task as what becomes the variant in file, with a name, a title and a description of its own; annotations are
// those of its metadata.
func taskVariant(task []byte, file, title, description string) (m, annotations mapping, err error) {
	if m, err = parseMapping(task); err != nil {
		return m, annotations, err
	}
	metadata, annotations, err := metadataOf(m)
	if err != nil {
		return m, annotations, err
	}
	metadata.set("name", text(nameOf(file)))
	annotations.set("tekton.dev/displayName", text(title))
	return m, annotations, appendDescription(m, description)
}

// setSecurity gives the Task's step another securityContext, with a comment over it.
func setSecurity(m, security mapping, comment string) error {
	step, err := onlyStep(m)
	if err != nil {
		return err
	}
	i := step.index("securityContext")
	if i < 0 {
		return errors.New("the step has no securityContext")
	}
	step.Content[i].HeadComment = comment
	step.Content[i+1] = security.Node
	return nil
}

// Names of the StepAction's parameters that stand for something else of the Task's.
const (
	pathSuffix  = "-path"
	volumeParam = "state-volume"
)

// stepAction makes the StepAction of the Task: workspaces become parameters that take a path, results
// become those of the step, and the volume is one of the Task that calls it.
func stepAction(task []byte) ([]byte, error) {
	m, err := parseMapping(task)
	if err != nil {
		return nil, err
	}
	d, err := Parse(taskFile, task)
	if err != nil {
		return nil, err
	}
	metadata, annotations, err := metadataOf(m)
	if err != nil {
		return nil, err
	}
	metadata.set("name", text(nameOf(stepFile)))
	annotations.set("tekton.dev/pipelines.minVersion", quoted("1.0.0"))
	if err := appendDescription(m, "As a StepAction it is given paths in place of workspaces, and the name of a volume of the Task that calls it."); err != nil {
		return nil, err
	}
	step, err := onlyStep(m)
	if err != nil {
		return nil, err
	}
	mounts := step.get("volumeMounts")
	if mounts == nil || len(mounts.Content) != 1 {
		return nil, errors.New("the step does not mount exactly one volume")
	}
	mapping{mounts.Content[0]}.set("name", text("$(params."+volumeParam+")"))

	taskSpec, err := m.at("spec")
	if err != nil {
		return nil, err
	}
	params := mapping{taskSpec}.get("params")
	if params == nil {
		return nil, errors.New("the Task has no params")
	}
	params.Content = slices.Concat(pathParams(d.Workspaces), params.Content)

	spec := newMapping()
	for _, key := range []string{"description", "params", "results"} {
		spec.take(mapping{taskSpec}, key)
	}
	for _, key := range []string{"image", "command", "args", "env", "securityContext", "volumeMounts"} {
		spec.take(step, key)
	}
	rewrite(spec.Node, toStepAction)
	top := newMapping()
	top.set("apiVersion", text("tekton.dev/v1beta1"))
	top.set("kind", text(string(StepAction)))
	top.take(m, "metadata")
	top.set("spec", spec.Node)
	return encode(top, generated(taskFile))
}

// pathParams are the parameters that the Task does not have.
func pathParams(workspaces []Workspace) []*yaml.Node {
	var params []*yaml.Node
	add := func(name, description string, value *yaml.Node) {
		p := newMapping()
		p.set("name", text(name))
		p.set("type", text("string"))
		p.set("description", text(description))
		if value != nil {
			p.set("default", value)
		}
		params = append(params, p.Node)
	}
	for _, w := range workspaces {
		if !w.Optional {
			add(w.Name+pathSuffix, "Directory. "+w.Description, nil)
			continue
		}
		add(w.Name+pathSuffix, "Directory, empty for none. "+w.Description, quoted(""))
	}
	add(volumeParam, "Name of a volume of the Task, best an emptyDir, for what is kept during the build.", text("state"))
	return params
}

var (
	taskResult    = regexp.MustCompile(`\$\(results\.([^.)]+)\.path\)`)
	workspacePath = regexp.MustCompile(`\$\(workspaces\.([^.)]+)\.path\)`)
	workspaceName = regexp.MustCompile(`the workspace ([a-z-]*[a-z])`)
)

// toStepAction changes variables and prose of the Task into those of the StepAction.
func toStepAction(s string) string {
	s = taskResult.ReplaceAllString(s, "$$(step.results.$1.path)")
	s = workspacePath.ReplaceAllString(s, "$$(params.${1}"+pathSuffix+")")
	return workspaceName.ReplaceAllString(s, "${1}"+pathSuffix)
}

func nameOf(file string) string { return strings.TrimSuffix(path.Base(file), ".yaml") }

func metadataOf(m mapping) (metadata, annotations mapping, err error) {
	n, err := m.at("metadata")
	if err != nil {
		return mapping{}, mapping{}, err
	}
	a, err := m.at("metadata", "annotations")
	return mapping{n}, mapping{a}, err
}

// appendDescription adds a paragraph to a folded description.
func appendDescription(m mapping, paragraph string) error {
	n, err := m.at("spec", "description")
	if err != nil {
		return err
	}
	n.Value += "\n" + paragraph
	return nil
}

func onlyStep(m mapping) (mapping, error) {
	steps, err := m.at("spec", "steps")
	if err != nil {
		return mapping{}, err
	}
	if len(steps.Content) != 1 {
		return mapping{}, fmt.Errorf("%d steps, not one", len(steps.Content))
	}
	return mapping{steps.Content[0]}, nil
}
