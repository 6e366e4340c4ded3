package op_test

import (
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
)

func TestVertexRef(t *testing.T) {
	for name, tt := range map[string]struct {
		vertex op.Vertex
		want   string
	}{
		"context":            {op.Vertex{Name: "[internal] load build context", Op: &op.Local{Name: "context"}}, "context"},
		"step of a stage":    {op.Vertex{Name: "[build 2/6] WORKDIR /src"}, "build"},
		"of one platform":    {op.Vertex{Name: "[linux/arm64 build 2/6] WORKDIR /src"}, "build"},
		"of the only stage":  {op.Vertex{Name: "[2/6] COPY a b"}, "b"},
		"image":              {op.Vertex{Name: "[1/2] FROM docker.io/library/busybox:latest"}, "docker.io/library/busybox:latest"},
		"without any name":   {op.Vertex{}, ""},
		"without a bracket":  {op.Vertex{Name: "https://example.com/a.tar"}, "https://example.com/a.tar"},
		"bracket not closed": {op.Vertex{Name: "[x"}, "[x"},
	} {
		if got := tt.vertex.Ref(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
