package frontend

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/slipway-build/slipway/pkg/op"
)

// A named context may be a graph that the caller has.
func TestInputs(t *testing.T) {
	graph, err := llb.Local("own").Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	marshalled, err := graph.ToPB().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := newProject("FROM base\nRUN true\n")
	p.opts.Contexts = map[string]string{"base": "input:graph"}
	p.opts.Inputs = map[string][]byte{"graph": marshalled}
	in := root(t, p).Inputs
	if len(in) == 0 {
		t.Fatal("RUN has no root filesystem")
	}
	if l, ok := in[0].Vertex.Op.(*op.Local); !ok || l.Name != "own" {
		t.Errorf("RUN is based on %+v, not on the input", in[0].Vertex)
	}
	for message, input := range map[string][]byte{
		"invalid nil input definition": nil,
		"input graph":                  []byte("nonsense"),
	} {
		p.opts.Inputs["graph"] = input
		if _, err := p.build(t.Context()); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%q: error %v, want %q", input, err, message)
		}
	}
}
