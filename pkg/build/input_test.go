package build

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
)

// A caller in Go may give graphs as contexts.
func TestInputs(t *testing.T) {
	graph, err := llb.Scratch().File(llb.Mkfile("/f", 0o644, []byte("made"))).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	marshalled, err := graph.ToPB().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	options := func(inputs map[string][]byte) Options {
		return Options{
			Context: t.TempDir(), Dockerfile: "-", Stdin: strings.NewReader("FROM scratch\nCOPY --from=lib /f /g\n"),
			BuildContexts: map[string]string{"lib": "input:graph"}, Inputs: inputs,
		}
	}
	got, err := built(t, options(map[string][]byte{"graph": marshalled}))
	if err != nil || got["g"] != "made" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := built(t, options(nil)); err == nil || !strings.Contains(err.Error(), "build context lib") {
		t.Errorf("an input that nobody gives: error %v", err)
	}
}
