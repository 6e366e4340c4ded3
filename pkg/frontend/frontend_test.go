package frontend

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

func TestWarnings(t *testing.T) {
	looksUpImagesAtOnce(t)
	p := newProject("# syntax=docker/dockerfile:1\nFROM busybox as one\nRUN true\n\nMAINTAINER me\n")
	p.opts.Platforms = []op.Platform{amd64, {OS: "linux", Architecture: "arm64"}}
	p.mustBuild(t)
	slices.SortFunc(p.warnings, func(a, b Warning) int { return a.Location.Start - b.Location.Start })
	if len(p.warnings) != 2 {
		t.Fatalf("warnings %+v", p.warnings)
	}
	casing, maintainer := p.warnings[0], p.warnings[1]
	if casing.Rule != "FromAsCasing" || casing.Message != "'as' and 'FROM' keywords' casing do not match" ||
		casing.Location.Start != 2 || casing.Location.Filename != "Dockerfile" || casing.Level != 1 ||
		!strings.HasPrefix(casing.URL, "https://docs.docker.com/") || casing.Detail == "" {
		t.Errorf("warning %+v", casing)
	}
	if maintainer.Rule != "MaintainerDeprecated" || maintainer.Location.Start != 5 ||
		!strings.Contains(maintainer.Location.Snippet(1), ">>> MAINTAINER me") {
		t.Errorf("warning %+v", maintainer)
	}
}

func TestWarningsMayBeUnwanted(t *testing.T) {
	p := newProject("FROM busybox as one\n")
	if _, err := Build(t.Context(), p.opts, &p.solver, &p.images, nil); err != nil {
		t.Error(err)
	}
}

func TestWarningMessages(t *testing.T) {
	for msg, want := range map[string]Warning{
		"Rule: text (line 3)":          {Rule: "Rule", Message: "text"},
		"Rule: text":                   {Rule: "Rule", Message: "text"},
		"Rule: a: b (line 1) (line 2)": {Rule: "Rule", Message: "a: b (line 1)"},
		"just text":                    {Message: "just text"},
		"two words: text":              {Message: "two words: text"},
	} {
		if got := newWarning(msg, gw.WarnOpts{}); got.Rule != want.Rule || got.Message != want.Message || got.Location != nil {
			t.Errorf("%q: %+v", msg, got)
		}
	}
}

func TestSubrequests(t *testing.T) {
	p := newProject("# syntax=docker/dockerfile:1\n# The base.\nFROM busybox as one\nARG V=1\nFROM one AS two\n")
	answer := func(request string, v any) *Result {
		t.Helper()
		p.opts.Request = request
		res := p.mustBuild(t)
		if len(res.Platforms) != 0 {
			t.Errorf("%s: platforms %v", request, res.Platforms)
		}
		if err := json.Unmarshal(res.Metadata["result.json"], v); err != nil {
			t.Fatalf("%s: %v in %v", request, err, res.Metadata)
		}
		return res
	}

	var lint struct {
		Warnings []struct{ RuleName string }
	}
	res := answer("frontend.lint", &lint)
	if len(lint.Warnings) != 1 || lint.Warnings[0].RuleName != "FromAsCasing" || string(res.Metadata["result.statuscode"]) != "1" {
		t.Errorf("lint %+v, status %s", lint, res.Metadata["result.statuscode"])
	}
	if len(p.warnings) != 0 {
		t.Errorf("warnings besides the answer: %+v", p.warnings)
	}

	var outline struct {
		Args []struct{ Name, Value string }
	}
	answer("frontend.outline", &outline)
	if len(outline.Args) != 1 || outline.Args[0].Name != "V" || outline.Args[0].Value != "1" {
		t.Errorf("outline %+v", outline)
	}

	asked := len(p.images.asked)
	var targets struct{ Targets []struct{ Name string } }
	answer("frontend.targets", &targets)
	if len(targets.Targets) != 2 || targets.Targets[0].Name != "one" {
		t.Errorf("targets %+v", targets)
	}
	if len(p.images.asked) != asked {
		t.Error("listing targets resolves images")
	}

	p.opts.Request = "frontend.dance"
	if _, err := p.build(t.Context()); err == nil || !strings.Contains(err.Error(), "frontend.dance") {
		t.Errorf("unknown request: %v", err)
	}
}

func TestMultiPlatformFormOfOnePlatform(t *testing.T) {
	for _, multi := range []bool{false, true} {
		p := newProject("FROM busybox\nRUN true\n")
		p.opts.MultiPlatform = multi
		p.opts.BuildArgs = map[string]string{"SOURCE_DATE_EPOCH": "5"}
		p.opts.BuildPlatform = op.Platform{OS: "linux", Architecture: "arm64"}
		res := p.mustBuild(t)
		if len(res.Platforms) != 1 {
			t.Fatalf("platforms %+v", res.Platforms)
		}
		r := res.Platforms[0]
		if r.ID != "linux/arm64" || r.Root == nil || r.Config == nil || r.BaseConfig == nil || r.Epoch == nil || res.Index != multi {
			t.Errorf("multi=%v: %+v", multi, r)
		}
	}
}

func TestOCILayoutContext(t *testing.T) {
	dgst := digest.FromString("layout")
	p := newProject("FROM base\nRUN true\n")
	p.opts.Contexts = map[string]string{"base": "oci-layout://store@" + dgst.String()}
	image := root(t, p).Inputs[0].Vertex.Op.(*op.Image)
	if want := "docker.io/library/base@" + dgst.String(); image.Layout != "store" || image.Ref != want {
		t.Errorf("image %+v, want %s in the store", image, want)
	}
	if want := []string{"docker.io/library/base@" + dgst.String() + " linux/amd64 default store"}; !slices.Equal(p.images.asked, want) {
		t.Errorf("asked for %q, want %q", p.images.asked, want)
	}
}

func TestOneVertexForAllSolves(t *testing.T) {
	g := newGraph()
	first, err := g.decode(t.Context(), definition(t, localOp()))
	if err != nil {
		t.Fatal(err)
	}
	second, err := g.decode(t.Context(), definition(t, localOp(), copyOp(nothing)))
	if err != nil {
		t.Fatal(err)
	}
	if second.Vertex.Inputs[0].Vertex != first.Vertex {
		t.Error("the same operation is two vertices")
	}
}

func TestReadDirAndStat(t *testing.T) {
	p := newProject("")
	p.solver.locals["context"] = files{"a.txt": "1", "b.go": "22", "sub/c.txt": ""}
	ref := &reference{build: &build{solver: &p.solver}, edge: op.Edge{Vertex: &op.Vertex{Op: &op.Local{Name: "context"}}}}
	names := func(req gw.ReadDirRequest) (out []string) {
		t.Helper()
		stats, err := ref.ReadDir(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stats {
			out = append(out, s.Path)
		}
		return out
	}
	if got := names(gw.ReadDirRequest{Path: "/"}); !slices.Equal(got, []string{"a.txt", "b.go", "sub"}) {
		t.Errorf("all: %q", got)
	}
	if got := names(gw.ReadDirRequest{Path: "/", IncludePattern: "*.txt"}); !slices.Equal(got, []string{"a.txt"}) {
		t.Errorf("*.txt: %q", got)
	}
	if _, err := ref.ReadDir(t.Context(), gw.ReadDirRequest{Path: "a.txt"}); err == nil {
		t.Error("a file has entries")
	}
	st, err := ref.StatFile(t.Context(), gw.StatRequest{Path: "b.go"})
	if err != nil || st.Size != 2 || st.Path != "b.go" || st.IsDir() {
		t.Errorf("b.go: %+v, %v", st, err)
	}
	if st, err = ref.StatFile(t.Context(), gw.StatRequest{Path: "sub"}); err != nil || !st.IsDir() {
		t.Errorf("sub: %+v, %v", st, err)
	}
}

func TestFSMode(t *testing.T) {
	for want, e := range map[string]layer.Entry{
		"-rwxr-xr-x":  {Type: layer.Regular, Mode: 0o755},
		"urwxr-xr-x":  {Type: layer.Regular, Mode: 0o4755},
		"grwxr-xr-x":  {Type: layer.Regular, Mode: 0o2755},
		"dtrwxrwxrwx": {Type: layer.Directory, Mode: 0o1777},
		"Lrwxrwxrwx":  {Type: layer.Symlink, Mode: 0o777},
		"Dcrw-rw-rw-": {Type: layer.CharDevice, Mode: 0o666},
		"Drw-rw----":  {Type: layer.BlockDevice, Mode: 0o660},
		"prw-------":  {Type: layer.Fifo, Mode: 0o600},
	} {
		if got := fsMode(&e).String(); got != want {
			t.Errorf("%+v: %s, want %s", e, got, want)
		}
	}
}

// A Dockerfile of 20 stages with five steps each, which is large.
func BenchmarkBuild(b *testing.B) {
	var text strings.Builder
	for range 20 {
		text.WriteString("FROM busybox\nWORKDIR /src\nCOPY . .\nRUN make\nENV A=1\nCOPY --from=alpine /x /y\n")
	}
	text.WriteString("FROM scratch\n")
	for i := range 20 {
		fmt.Fprintf(&text, "COPY --from=%d /src /%d\n", i, i)
	}
	p := newProject(text.String())
	for b.Loop() {
		if _, err := p.build(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
