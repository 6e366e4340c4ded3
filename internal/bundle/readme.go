package bundle

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// section finds a generated part of a README:
//
//	<!-- generated: parameters -->
//	…
//	<!-- end -->
var section = regexp.MustCompile(`(?s)<!-- generated: ([a-z]+) -->\n(.*?)<!-- end -->`)

// sections are the generated parts that a README can have, by name.
func sections() map[string]func(*Definition) (string, error) {
	return map[string]func(*Definition) (string, error){
		"install": install, "parameters": parameters, "workspaces": workspaces, "results": results, "platforms": platforms,
	}
}

// fillReadme writes the generated parts of a README anew. It is an error if one is missing that the
// definition has something to say for.
func fillReadme(readme string, d *Definition) ([]byte, error) {
	var failed error
	var found []string
	filled := section.ReplaceAllStringFunc(readme, func(old string) string {
		name := section.FindStringSubmatch(old)[1]
		found = append(found, name)
		make, ok := sections()[name]
		if !ok {
			failed = errors.Join(failed, fmt.Errorf("no generated section is named %s", name))
			return old
		}
		text, err := make(d)
		failed = errors.Join(failed, err)
		return "<!-- generated: " + name + " -->\n\n" + text + "\n<!-- end -->"
	})
	for name, present := range map[string]bool{
		"install": true, "platforms": true,
		"parameters": len(d.Params) > 0, "workspaces": len(d.Workspaces) > 0, "results": len(d.Results) > 0,
	} {
		if present && !slices.Contains(found, name) {
			failed = errors.Join(failed, fmt.Errorf("no generated section %s", name))
		}
	}
	if failed != nil {
		return nil, failed
	}
	return []byte(filled), nil
}

func parameters(d *Definition) (string, error) {
	rows := [][]string{{"parameter", "type", "default", "meaning"}}
	for _, p := range d.Params {
		value, err := defaultOf(p)
		if err != nil {
			return "", err
		}
		rows = append(rows, []string{code(p.Name), typeOf(p.Type), value, p.Description})
	}
	return table(rows), nil
}

func workspaces(d *Definition) (string, error) {
	rows := [][]string{{"workspace", "", "holds"}}
	for _, w := range d.Workspaces {
		need := "required"
		if w.Optional {
			need = "optional"
		}
		rows = append(rows, []string{code(w.Name), need, w.Description})
	}
	return table(rows), nil
}

func results(d *Definition) (string, error) {
	rows := [][]string{{"result", "type", "value"}}
	for _, r := range d.Results {
		rows = append(rows, []string{code(r.Name), typeOf(r.Type), r.Description})
	}
	return table(rows), nil
}

func platforms(d *Definition) (string, error) {
	var names []string
	for _, p := range d.Platforms {
		names = append(names, code(p))
	}
	return "It runs on " + strings.Join(names, " and ") + ".\n", nil
}

// typeOf gives the type that Tekton takes if none is written.
func typeOf(written string) string {
	if written == "" {
		return "string"
	}
	return written
}

// defaultOf shows a default in one line of YAML.
func defaultOf(p Param) (string, error) {
	if p.Default == nil {
		return "required", nil
	}
	n := *p.Default
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "":
		return code(`""`), nil
	case n.Kind == yaml.ScalarNode:
		return code(n.Value), nil
	}
	n.Style = yaml.FlowStyle
	out, err := yaml.Marshal(&n)
	if err != nil {
		return "", fmt.Errorf("default of %s: %w", p.Name, err)
	}
	return code(strings.TrimSpace(string(out))), nil
}

func code(s string) string { return "`" + s + "`" }

// table writes rows, of which the first is the head, as a table of Markdown.
func table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, cell := range row {
			b.WriteString("| " + strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}
