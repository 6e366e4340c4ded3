package frontend

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
)

// governed is a project whose sources a policy of some rules decides about.
func governed(t *testing.T, dockerfile, rules string) *project {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"rules":[`+rules+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProject(dockerfile)
	var err error
	if p.opts.Sources, err = policy.LoadSources(file); err != nil {
		t.Fatal(err)
	}
	return p
}

func deny(identifier string) string {
	return `{"action":"DENY","selector":{"identifier":"` + identifier + `"}}`
}

func convert(from, to string) string {
	return `{"action":"CONVERT","selector":{"identifier":"` + from + `"},"updates":{"identifier":"` + to + `"}}`
}

// Whatever brings something in is denied with its line, and before it is looked up.
func TestDeniedSources(t *testing.T) {
	for name, c := range map[string]struct {
		dockerfile, deny string
		line             int // 0 where the frontend does not know it
	}{
		"FROM":                {"FROM scratch\nFROM busybox\n", "docker-image://docker.io/library/busybox:latest", 2},
		"FROM digest":         {"FROM busybox@sha256:" + strings.Repeat("1", 64) + "\n", "docker-image://docker.io/library/busybox@*", 1},
		"COPY --from":         {"FROM scratch\nCOPY --from=busybox / /\n", "docker-image://docker.io/library/busybox*", 2},
		"RUN --mount":         {"FROM alpine\nRUN --mount=from=busybox,target=/b true\n", "docker-image://docker.io/library/busybox*", 0},
		"ADD of a URL":        {"FROM scratch\n\nADD https://example.com/f /\n", "https://*", 3},
		"ADD of a repository": {"FROM scratch\nADD https://example.com/r.git#v1:sub /\n", "git://example.com/r.git#v1:sub", 2},
		"ADD over ssh":        {"FROM scratch\nADD git@127.0.0.1:r.git /\n", "git://127.0.0.1/r.git", 2},
		"the context":         {"FROM scratch\nCOPY a /\n", "local://context", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := governed(t, c.dockerfile, deny(c.deny))
			_, err := p.build(t.Context())
			if c.line != 0 {
				wantLocated(t, err, c.line, "denied by policy")
			}
			var denied *policy.DeniedError
			if !errors.As(err, &denied) {
				t.Errorf("error %v is no DeniedError", err)
			}
			for _, ref := range p.images.asked {
				if strings.Contains(ref, "busybox") {
					t.Errorf("%s was looked up", ref)
				}
			}
			if slices.ContainsFunc(p.solver.solved, func(s string) bool { return strings.HasPrefix(s, c.deny+" ") }) {
				t.Errorf("it was read: %q", p.solver.solved)
			}
		})
	}
}

// Contexts are sources, too, wherever they come from.
func TestDeniedContexts(t *testing.T) {
	layout := "oci-layout://store@sha256:" + strings.Repeat("1", 64)
	for name, c := range map[string]struct {
		context, deny string // a named context, or the main one if it begins with "main:"
	}{
		"image":         {"docker-image://busybox", "docker-image://docker.io/library/busybox:latest"},
		"layout":        {layout, "oci-layout://*"},
		"URL":           {"https://example.com/f", "https://example.com/*"},
		"repository":    {"https://example.com/r.git#v1", "git://example.com/r.git#v1"},
		"directory":     {"local:other", "local://other"},
		"main URL":      {"main:https://example.com/c.tar", "https://*"},
		"main git":      {"main:https://example.com/r.git?ref=v1", "git://example.com/r.git#v1"},
		"epoch of main": {"main:https://example.com/r.git", "git://*"},
	} {
		t.Run(name, func(t *testing.T) {
			p := governed(t, "FROM scratch\nCOPY --from=named /f /\n", deny(c.deny))
			if main, ok := strings.CutPrefix(c.context, "main:"); ok {
				p.opts.Extra = map[string]string{"context": main}
				p.opts.BuildArgs = map[string]string{"SOURCE_DATE_EPOCH": "context"}
			} else {
				p.opts.Contexts = map[string]string{"named": c.context}
			}
			p.solver.locals["other"] = files{"f": "x"}
			_, err := p.build(t.Context())
			var denied *policy.DeniedError
			if !errors.As(err, &denied) {
				t.Errorf("error %v is no DeniedError", err)
			}
			if len(p.images.asked) > 0 || slices.ContainsFunc(p.solver.solved, func(s string) bool { return strings.HasPrefix(s, "local://other") }) {
				t.Errorf("images looked up: %q; read: %q", p.images.asked, p.solver.solved)
			}
		})
	}
}

// A stage that is not built needs no permission.
func TestUnusedStageIsNotDenied(t *testing.T) {
	governed(t, "FROM busybox AS unused\nFROM scratch\nWORKDIR /a\n", deny("docker-image://*")).mustBuild(t)
}

func TestConvertedImage(t *testing.T) {
	p := governed(t, "FROM busybox:1\n", convert("docker-image://docker.io/library/*", "docker-image://mirror.example/${1}"))
	o, ok := root(t, p).Op.(*op.Image)
	if !ok || !strings.HasPrefix(o.Ref, "mirror.example/busybox:1@sha256:") {
		t.Errorf("got %+v", root(t, p).Op)
	}
	if want := []string{"mirror.example/busybox:1 linux/amd64 default"}; !slices.Equal(p.images.asked[:1], want) {
		t.Errorf("looked up %q, want %q", p.images.asked, want)
	}
}

// What only the graph names is pinned, too, when it becomes an image.
func TestConvertedIntoImage(t *testing.T) {
	p := governed(t, "FROM scratch\nADD https://example.com/f /\n", convert("https://example.com/f", "docker-image://docker.io/library/busybox:1"))
	got := source[*op.Image](t, p)
	if !strings.HasPrefix(got.Ref, "docker.io/library/busybox:1@sha256:") || got.Platform.Architecture != "amd64" {
		t.Errorf("got %+v", got)
	}
}

// A named context may become one of another kind, but the base of a stage remains an image.
func TestConvertedIntoAnotherKind(t *testing.T) {
	rule := convert("docker-image://docker.io/library/busybox:latest", "local://other")
	p := governed(t, "FROM scratch AS replaced\nFROM scratch\nCOPY --from=replaced /f /\n", rule)
	p.opts.Contexts = map[string]string{"replaced": "docker-image://busybox"}
	p.solver.locals["other"] = files{"f": "other"}
	if got := source[*op.Local](t, p); got.Name != "other" {
		t.Errorf("got %+v", got)
	}
	_, err := governed(t, "FROM busybox\n", rule).build(t.Context())
	wantLocated(t, err, 1, "non-image")
}

func TestConvertedAttributes(t *testing.T) {
	p := governed(t, "FROM scratch\nADD http://example.com/f /\n", convert("http://*", "https://${1}")+
		`,{"action":"CONVERT","selector":{"identifier":"https://*"},"updates":{"identifier":"https://${1}","attrs":{"http.checksum":"sha256:`+strings.Repeat("1", 64)+`"}}}`)
	got := source[*op.HTTP](t, p)
	if got.URL != "https://example.com/f" || got.Sum.IsZero() || got.Filename != "f" {
		t.Errorf("got %+v", got)
	}
}

// A repository's address is in two places; a rule that changes one of them alone is refused, as in BuildKit.
func TestConvertedRepository(t *testing.T) {
	dockerfile := "FROM scratch\nADD https://example.com/r.git#v1 /\n"
	if got := source[*op.Git](t, governed(t, dockerfile, convert("git://example.com/r.git#v1", "git://example.com/r.git#v2"))); got.Ref != "v2" {
		t.Errorf("got %+v", got)
	}
	_, err := governed(t, dockerfile, convert("git://example.com/*", "git://mirror.example/${1}")).build(t.Context())
	wantLocated(t, err, 2, "names another one")
	both := `{"action":"CONVERT","selector":{"identifier":"git://example.com/r.git#v1"},
		"updates":{"identifier":"git://mirror.example/r.git#v1","attrs":{"git.fullurl":"https://mirror.example/r.git"}}}`
	if got := source[*op.Git](t, governed(t, dockerfile, both)); got.URL != "https://mirror.example/r.git" || got.Ref != "v1" {
		t.Errorf("got %+v", got)
	}
}

// The checks of a Dockerfile look up images, and heed the policy.
func TestLintIsDenied(t *testing.T) {
	p := governed(t, "FROM busybox\n", deny("docker-image://*"))
	p.opts.Request = requestLint
	var denied *policy.DeniedError
	if r := p.mustBuild(t); !errors.As(r.Lint.Err, &denied) {
		t.Errorf("got %v", r.Lint.Err)
	}
}
