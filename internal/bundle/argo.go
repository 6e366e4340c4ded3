package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The files for Argo: what is written by hand, and what follows from it.
const (
	argoFile        = "argo/slipway/manifests.yaml"
	argoReadmeFile  = "argo/slipway/README.md"
	argoClusterFile = "argo/slipway-cluster/manifests.yaml"
)

// argoKind is the kind from which the one for the whole cluster is made, by the prefix "Cluster".
const argoKind = "WorkflowTemplate"

// ClusterWorkflowTemplate makes Argo's ClusterWorkflowTemplate of a WorkflowTemplate: the kind is another,
// everything else stays as it is written, but for the comment before the first key, which is about
// the file. A template that refers to another WorkflowTemplate is an error: that one would have to be in
// the namespace of whoever uses this one.
func ClusterWorkflowTemplate(workflowTemplate []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(workflowTemplate, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("not a mapping")
	}
	top := doc.Content[0]
	kind := argoField(top, "kind")
	switch {
	case kind == nil || kind.Value != argoKind:
		return nil, errors.New("not of the kind " + argoKind)
	case argoField(argoField(top, "metadata"), "namespace") != nil:
		return nil, errors.New("it has a namespace")
	}
	if n := argoReference(top); n != nil {
		return nil, fmt.Errorf("line %d: a reference to another template", n.Line)
	}
	var out bytes.Buffer
	out.WriteString("# Generated from argo/slipway/manifests.yaml by \"make generate\". Change that file, not this one.\n")
	number := 0
	for line := range bytes.Lines(workflowTemplate) {
		number++
		switch {
		case number < top.Line:
		case number == kind.Line:
			before, after := line[:kind.Column-1], line[kind.Column-1:] // columns are counted from 1
			if !bytes.HasPrefix(after, []byte(argoKind)) {
				return nil, fmt.Errorf("line %d: the kind is not written plainly", number)
			}
			out.Write(before)
			out.WriteString("Cluster")
			out.Write(after)
		default:
			out.Write(line)
		}
	}
	return out.Bytes(), nil
}

// argoField gives the value of a key, nil if it or the mapping is missing.
func argoField(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// argoReference finds a mapping with a templateRef or workflowTemplateRef.
func argoReference(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.MappingNode && (argoField(n, "templateRef") != nil || argoField(n, "workflowTemplateRef") != nil) {
		return n
	}
	for _, c := range n.Content {
		if found := argoReference(c); found != nil {
			return found
		}
	}
	return nil
}

// argoTemplates is the part of a WorkflowTemplate that its README has tables of.
type argoTemplates struct {
	Spec struct {
		Templates []struct {
			Name   string
			Inputs struct {
				Parameters []struct {
					Name, Description string
					Value             *string
				}
			}
			Outputs struct {
				Parameters []struct{ Name, Description string }
			}
		}
	}
}

// ArgoReadme writes the tables of a README anew: parameters and outputs of each template of a
// WorkflowTemplate, between the lines
//
//	<!-- generated: TEMPLATE parameters -->
//	<!-- end -->
//
// or with "outputs", for a template that has some. It is an error if one of them is missing.
func ArgoReadme(readme, workflowTemplate []byte) ([]byte, error) {
	var doc argoTemplates
	if err := yaml.Unmarshal(workflowTemplate, &doc); err != nil {
		return nil, err
	}
	text := string(readme)
	for _, t := range doc.Spec.Templates {
		inputs := "| parameter | default | meaning |\n|---|---|---|\n"
		for _, p := range t.Inputs.Parameters {
			value := "required"
			if p.Value != nil {
				value = "`" + *p.Value + "`"
				if *p.Value == "" {
					value = "`\"\"`"
				}
			}
			inputs += "| `" + p.Name + "` | " + value + " | " + argoCell(p.Description) + " |\n"
		}
		outputs := "| output | value |\n|---|---|\n"
		for _, p := range t.Outputs.Parameters {
			outputs += "| `" + p.Name + "` | " + argoCell(p.Description) + " |\n"
		}
		tables := map[string]string{"parameters": inputs}
		if len(t.Outputs.Parameters) > 0 {
			tables["outputs"] = outputs
		}
		for name, table := range tables {
			var err error
			if text, err = argoSection(text, t.Name+" "+name, table); err != nil {
				return nil, err
			}
		}
	}
	return []byte(text), nil
}

func argoSection(text, name, content string) (string, error) {
	begin := "<!-- generated: " + name + " -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, end := strings.Cut(rest, "<!-- end -->")
	if !ok || !end {
		return "", fmt.Errorf("no generated section %s", name)
	}
	return before + begin + "\n" + content + "\n<!-- end -->" + after, nil
}

// argoCell is text for a table: one line, and tags in it are no HTML.
func argoCell(s string) string {
	return strings.NewReplacer("\n", " ", "|", `\|`, "<", "&lt;").Replace(strings.TrimSpace(s))
}
