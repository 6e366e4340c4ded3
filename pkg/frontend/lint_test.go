package frontend

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
)

func TestLint(t *testing.T) {
	refused := errors.New("the registry is away")
	for name, c := range map[string]struct {
		dockerfile string
		warnings   int
		line       int // of the error, 0 for none
		message    string
	}{
		"clean":        {"FROM busybox AS one\n", 0, 0, ""},
		"warnings":     {"FROM busybox as one\nRUN true\nMAINTAINER me\n", 2, 0, ""},
		"all stages":   {"FROM busybox as one\nFROM busybox as two\n", 2, 0, ""},
		"skip":         {"# check=skip=FromAsCasing\nFROM busybox as one\nMAINTAINER me\n", 1, 0, ""},
		"skip all":     {"# check=skip=all\nFROM busybox as one\nMAINTAINER me\n", 0, 0, ""},
		"error":        {"# check=error=true\nFROM busybox as one\n", 1, 0, "lint violation found for rules: FromAsCasing"},
		"experimental": {"# check=experimental=InvalidDefinitionDescription\n# other words\nFROM busybox AS one\n", 1, 0, ""},
		"syntax":       {"FROM scratch\nRUM x\n", 0, 2, "unknown instruction: RUM (did you mean RUN?)"},
		"variable":     {"FROM scratch\nCOPY ${x a /\n", 0, 2, "failed to process \"${x\": it ends before the closing brace"},
		"lookup":       {"FROM scratch AS one\nFROM away\n", 0, 2, "away: the registry is away"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(c.dockerfile)
			p.opts.Request = requestLint
			p.images.errs = map[string]error{"docker.io/library/away:latest": refused, "away": refused}
			l := p.mustBuild(t).Lint
			if l == nil || l.Warnings != c.warnings {
				t.Fatalf("got %+v, want %d warnings", l, c.warnings)
			}
			if c.message == "" {
				if l.Err != nil {
					t.Errorf("error %v", l.Err)
				}
				return
			}
			var located *op.LocatedError
			line := 0
			if errors.As(l.Err, &located) {
				line = located.Location.Start
			}
			if l.Err == nil || line != c.line || !strings.HasSuffix(l.Err.Error(), c.message) {
				t.Errorf("error %v, want %q in line %d", l.Err, c.message, c.line)
			}
			if isLookup := errors.Is(l.Err, refused); isLookup != (name == "lookup") {
				t.Errorf("error %v: its kind is lost", l.Err)
			}
		})
	}
}

func TestLintByArgument(t *testing.T) {
	p := newProject("FROM busybox as one\nMAINTAINER me\n")
	p.opts.Request = requestLint
	p.opts.BuildArgs = map[string]string{"BUILDKIT_DOCKERFILE_CHECK": "skip=MaintainerDeprecated"}
	if l := p.mustBuild(t).Lint; l.Warnings != 1 || l.Err != nil {
		t.Errorf("got %+v", l)
	}
}
