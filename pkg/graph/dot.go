package graph

import (
	"fmt"
	"io"
	"strings"
)

// WriteDOT writes the graph in the language of Graphviz. Edges lead from a step to those that need it; those
// for mounts are dashed and bear the mount's target.
func (g *Graph) WriteDOT(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph build {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n")
	for i := range g.Steps {
		s := &g.Steps[i]
		fmt.Fprintf(&b, "  s%d [label=%s%s];\n", s.ID, quote(s.label()...), s.shape())
		for n, in := range s.Inputs {
			fmt.Fprintf(&b, "  s%d -> s%d%s;\n", in, s.ID, s.edge(n, in))
		}
	}
	for i, img := range g.Images {
		fmt.Fprintf(&b, "  image%d [label=%s, shape=doubleoctagon];\n", i+1, quote(img.Platform))
		if img.Step != 0 {
			fmt.Fprintf(&b, "  s%d -> image%d;\n", img.Step, i+1)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Step) label() []string {
	lines := []string{s.Name}
	for _, more := range []string{s.Platform, s.place()} {
		if more != "" {
			lines = append(lines, more)
		}
	}
	if s.Cache != nil {
		lines = append(lines, oneLine(s.Cache.String()))
	}
	return lines
}

func (s *Step) shape() string {
	switch s.Kind {
	case "exec":
		return ", style=bold"
	case "file", "merge":
		return ""
	}
	return ", shape=ellipse" // brought in from outside
}

// edge gives the attributes of the edge from the step's n-th input.
func (s *Step) edge(n, in int) string {
	if n == 0 && s.based || s.Exec == nil {
		return ""
	}
	var targets []string
	for _, m := range s.Exec.Mounts {
		if m.From == in {
			targets = append(targets, m.Target)
		}
	}
	return fmt.Sprintf(" [style=dashed, label=%s]", quote(targets...))
}

// quote gives lines as a string of DOT, in which only quotation marks and backslashes need care.
func quote(lines ...string) string {
	for i, l := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(oneLine(l))
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
