package graph

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// WriteText writes the graph from the first step to the last, image by image. What only the next step
// further left needs is indented; a step that several need is shown once, where it is needed first.
func (g *Graph) WriteText(w io.Writer) error {
	t := &text{graph: g, shown: map[int]bool{}}
	for i, img := range g.Images {
		if i > 0 {
			t.WriteByte('\n')
		}
		fmt.Fprintf(t, "%s\n", img.Platform)
		if img.Step == 0 {
			t.WriteString("(no layers)\n")
			continue
		}
		if t.shown[img.Step] {
			fmt.Fprintf(t, "#%d, see above\n", img.Step)
			continue
		}
		t.line(img.Step, 0)
	}
	_, err := io.WriteString(w, t.String())
	return err
}

// text is the text form so far.
type text struct {
	strings.Builder
	graph *Graph
	shown map[int]bool
}

// line shows the steps that go on from one another and end with step id, and before each of them what
// else it needs.
func (t *text) line(id, depth int) {
	if t.shown[id] {
		return
	}
	t.shown[id] = true
	s := &t.graph.Steps[id-1]
	for i, in := range s.Inputs {
		if i == 0 && s.based {
			t.line(in, depth)
		} else {
			t.line(in, depth+1)
		}
	}
	fmt.Fprintf(t, "%s#%d %s", strings.Repeat("|  ", depth), id, s.title())
	if len(s.Inputs) > 0 {
		ids := make([]string, len(s.Inputs))
		for i, in := range s.Inputs {
			ids[i] = fmt.Sprintf("#%d", in)
		}
		fmt.Fprintf(t, " <- %s", strings.Join(ids, " "))
	}
	if s.Cache != nil {
		fmt.Fprintf(t, "  [%s]", oneLine(s.Cache.String()))
	}
	t.WriteByte('\n')
}

// String is "cached", or "not cached" with the reason.
func (c *CacheStatus) String() string {
	switch {
	case c.Cached:
		return "cached"
	case c.Reason == "":
		return "not cached"
	}
	return "not cached: " + c.Reason
}

// title is the step in one line: name, platform, place.
func (s *Step) title() string {
	title := oneLine(s.Name)
	if s.Platform != "" {
		title += " (" + s.Platform + ")"
	}
	if s.NoCache {
		title += " [no cache]"
	}
	if place := s.place(); place != "" {
		title += "  " + place
	}
	return title
}

// oneLine leaves out what could end the line, or tell a terminal what to do.
func oneLine(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.Join(strings.Fields(name), " "))
}

// place is "Dockerfile:3" or "Dockerfile:3-5", "" if there is none.
func (s *Step) place() string {
	switch {
	case s.Source == nil:
		return ""
	case s.Source.End > s.Source.Start:
		return fmt.Sprintf("%s:%d-%d", s.Source.File, s.Source.Start, s.Source.End)
	}
	return fmt.Sprintf("%s:%d", s.Source.File, s.Source.Start)
}

// WriteJSON writes the graph as one JSON object.
func (g *Graph) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(g)
}
