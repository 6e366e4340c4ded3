package build

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// inspect evaluates a Dockerfile on standard input.
func inspect(ctx context.Context, t *testing.T, dockerfile string, change func(*Options)) (*Inspected, error) {
	t.Helper()
	o := Options{
		Context: t.TempDir(), StateDir: t.TempDir(), Dockerfile: "-", Stdin: strings.NewReader(dockerfile),
		Progress: "quiet", ProgressTo: &strings.Builder{},
	}
	if change != nil {
		change(&o)
	}
	return Inspect(ctx, o, InspectGraph)
}

func TestInspectStdin(t *testing.T) {
	r, err := inspect(t.Context(), t, "FROM scratch\nCOPY not-there /\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Platforms) != 1 || r.Platforms[0].Root == nil || !strings.HasSuffix(r.Platforms[0].Root.Vertex.Name, "COPY not-there /") {
		t.Errorf("got %+v", r.Platforms)
	}
}

func TestInspectRefusesNonsense(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"device":        func(o *Options) { o.Allow = []string{"device"} },
		"is not a dir":  func(o *Options) { o.BuildContexts = map[string]string{"x": "/dev/null"} },
		"platform":      func(o *Options) { o.Platforms = []string{"a/b/c/d"} },
		"build context": func(o *Options) { o.Context = "/not/there" },
	} {
		_, err := inspect(t.Context(), t, "FROM scratch\n", change)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want a usage error with %q", err, want)
		}
	}
}
