package op

import "testing"

func TestBase(t *testing.T) {
	vertex := func(o Op, in ...Edge) Edge { return Edge{Vertex: &Vertex{Op: o, Inputs: in}} }
	base, other := &Image{Ref: "base"}, &Image{Ref: "other"}
	copied := &File{Actions: []FileAction{{Input: 0, Secondary: 1, Output: -1}, {Input: 2, Secondary: 1, Output: 0}}}
	onEmpty := &File{Actions: []FileAction{{Input: -1, Secondary: 0, Output: 0}}}
	run := &Exec{Mounts: []ExecMount{{Dest: "/m", Input: 1, Output: -1}, {Dest: "/", Input: 0, Output: 0}}}
	for name, c := range map[string]struct {
		e    Edge
		want *Image
	}{
		"itself":               {vertex(base), base},
		"files were copied in": {vertex(copied, vertex(base), vertex(other)), base},
		"something was run":    {vertex(run, vertex(copied, vertex(base), vertex(other)), vertex(other)), base},
		"a link":               {vertex(&Merge{}, vertex(base), vertex(onEmpty, vertex(other))), base},
		"began empty":          {vertex(onEmpty, vertex(other)), nil},
		"a local source":       {vertex(&Local{Name: "context"}), nil},
		"nothing":              {Edge{}, nil},
	} {
		if got := Base(c.e); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
