package frontend

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// staged has two stages before the last, and a third that nothing needs.
const staged = `FROM busybox AS tools
RUN make-tools
FROM golang AS build
COPY a /
RUN --mount=from=tools,target=/t compile
FROM alpine AS other
RUN other
FROM scratch
COPY --from=build /out /
`

// The extras are the stages and the context that build arguments name.
func TestSBOMExtras(t *testing.T) {
	looksUpImagesAtOnce(t)
	for _, test := range []struct {
		name, dockerfile string
		args             map[string]string
		want             map[string]string // what the last step of each is
	}{
		{"nothing", staged, nil, map[string]string{}},
		{"all stages", "ARG BUILDKIT_SBOM_SCAN_STAGE=true\n" + staged, nil, map[string]string{"tools": "RUN make-tools", "build": "compile"}},
		{"some stages", "ARG BUILDKIT_SBOM_SCAN_STAGE\n" + staged, map[string]string{"BUILDKIT_SBOM_SCAN_STAGE": "build"}, map[string]string{"build": "compile"}},
		{"the context", "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\n" + staged, nil, map[string]string{"context": "[internal] load build context"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProject(test.dockerfile)
			p.opts.BuildArgs = test.args
			p.opts.SBOM = &SBOM{}
			got := p.mustBuild(t).Platforms[0]
			if got.SBOM == nil || got.SBOM.Report != nil {
				t.Fatalf("materials %+v", got.SBOM)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(test.want)), slices.Sorted(maps.Keys(got.SBOM.Extras)), cmp.Transformer("empty", func(s []string) string { return strings.Join(s, ",") })); diff != "" {
				t.Errorf("extras (-want +got):\n%s", diff)
			}
			for name, e := range got.SBOM.Extras {
				if e == nil || !strings.Contains(e.Vertex.Name, test.want[name]) {
					t.Errorf("%s is %+v, want the step %s", name, e, test.want[name])
				}
			}
			for _, asked := range p.images.asked {
				if strings.Contains(asked, "slipway.invalid") {
					t.Errorf("%s was looked up", asked)
				}
			}
		})
	}
}

// Asking for the materials changes nothing in the image; its vertices are the same as theirs.
func TestSBOMChangesNothing(t *testing.T) {
	looksUpImagesAtOnce(t)
	want := newProject("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n" + staged).mustBuild(t).Platforms[0]
	p := newProject("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n" + staged)
	p.opts.SBOM = &SBOM{}
	res := p.mustBuild(t)
	got := res.Platforms[0]
	if o, given := res.Used.Options[optionSBOM]; given {
		t.Errorf("option %q is said to be used", o)
	}
	if dump(got.Root) != dump(want.Root) || string(got.Config) != string(want.Config) {
		t.Errorf("got\n%s%s\nwant\n%s%s", dump(got.Root), got.Config, dump(want.Root), want.Config)
	}
	if !slices.Contains(op.Vertices(*got.Root), got.SBOM.Extras["build"].Vertex) {
		t.Error("the stage would be built twice")
	}
}

// Each platform has materials of its own; an image without layers has some, too.
func TestSBOMOfPlatforms(t *testing.T) {
	p := newProject("ARG BUILDKIT_SBOM_SCAN_STAGE=true\nFROM busybox AS a\nRUN true\nFROM scratch\nCOPY --from=a /b /\n")
	p.opts.Platforms = []op.Platform{amd64, {OS: "linux", Architecture: "arm64"}}
	p.opts.SBOM = &SBOM{}
	res := p.mustBuild(t)
	first, second := res.Platforms[0].SBOM.Extras["a"], res.Platforms[1].SBOM.Extras["a"]
	if first == nil || second == nil || first.Vertex == second.Vertex {
		t.Errorf("extras %+v and %+v", first, second)
	}
	empty := newProject("FROM scratch\nLABEL a=b\n")
	empty.opts.SBOM = &SBOM{}
	if m := empty.mustBuild(t).Platforms[0].SBOM; m == nil || len(m.Extras) > 0 {
		t.Errorf("materials of an image without layers: %+v", m)
	}
}

// A generator is a step by the scanner protocol: the image read-only, what it writes as the result.
func TestSBOMGenerator(t *testing.T) {
	p := newProject("ARG BUILDKIT_SBOM_SCAN_STAGE=true\nFROM busybox AS base\nRUN one\nFROM base\nRUN two\n")
	p.images.configs = map[string]ocispecs.Image{"docker.io/example/scanner:latest": {
		RootFS: ocispecs.RootFS{DiffIDs: []digest.Digest{digest.FromString("scanner")}},
		Config: ocispecs.ImageConfig{Entrypoint: []string{"/bin/scan"}, Cmd: []string{"-v"}, WorkingDir: "/w", Env: []string{"A=b"}},
	}}
	p.opts.SBOM = &SBOM{Generator: "example/scanner", Parameters: map[string]string{"LEVEL": `a "b",c`}}
	r := p.mustBuild(t).Platforms[0]
	report := r.SBOM.Report
	if report == nil {
		t.Fatal("there is no report")
	}
	e, ok := report.Vertex.Op.(*op.Exec)
	if !ok {
		t.Fatalf("the report comes from %T", report.Vertex.Op)
	}
	if diff := cmp.Diff([]string{"/bin/scan", "-v"}, e.Args); diff != "" || e.Cwd != "/w" {
		t.Errorf("%s in %s", diff, e.Cwd)
	}
	for _, want := range []string{"A=b", `BUILDKIT_SCAN_LEVEL=a "b",c`, "BUILDKIT_SCAN_DESTINATION=/run/out/",
		"BUILDKIT_SCAN_SOURCE=/run/src/core/sbom", "BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras"} {
		if !slices.Contains(e.Env, want) {
			t.Errorf("environment %q lacks %s", e.Env, want)
		}
	}
	mounts := map[string]op.ExecMount{}
	for _, m := range e.Mounts {
		mounts[m.Dest] = m
	}
	core, extra, out := mounts["/run/src/core/sbom"], mounts["/run/src/extras/sbom-base"], mounts["/run/out"]
	if !core.ReadOnly || report.Vertex.Inputs[core.Input] != *r.Root {
		t.Errorf("the image is mounted as %+v", core)
	}
	if !extra.ReadOnly || extra.Input < 0 {
		t.Errorf("the stage is mounted as %+v", extra)
	}
	if out.ReadOnly || out.Input >= 0 || out.Output != report.Output {
		t.Errorf("the report, output %d, is mounted as %+v", report.Output, out)
	}
	if mounts["/tmp"].Type != isolation.MountTmpfs {
		t.Errorf("/tmp is %+v", mounts["/tmp"])
	}
}

// Where RUN has no network, a scanner has none.
func TestSBOMGeneratorWithoutNetwork(t *testing.T) {
	for network, want := range map[string]isolation.Network{"": isolation.NetworkDefault, "none": isolation.NetworkNone} {
		p := newProject("FROM busybox\n")
		p.images.configs = map[string]ocispecs.Image{"docker.io/example/scanner:latest": {Config: ocispecs.ImageConfig{Cmd: []string{"scan"}}}}
		p.opts.SBOM, p.opts.Network = &SBOM{Generator: "example/scanner"}, network
		if e := p.mustBuild(t).Platforms[0].SBOM.Report.Vertex.Op.(*op.Exec); e.Network != want {
			t.Errorf("network %q: the scanner has %v", network, e.Network)
		}
	}
}

func TestSBOMGeneratorErrors(t *testing.T) {
	denied := errors.New("not found")
	for _, test := range []struct {
		name string
		sbom SBOM
		want string
	}{
		{"no image", SBOM{Generator: "example/missing"}, "not found"},
		{"no name", SBOM{Generator: "UPPER"}, "UPPER"},
		{"nothing to run", SBOM{Generator: "example/empty"}, "does not have cmd"},
		{"a parameter that is none", SBOM{Generator: "example/scanner", Parameters: map[string]string{"generator": "x"}}, "generator"},
	} {
		p := newProject("FROM scratch\n")
		p.images.errs = map[string]error{"docker.io/example/missing:latest": denied}
		p.opts.SBOM = &test.sbom
		if _, err := p.build(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// The placeholder's configuration is one.
func TestPlaceholder(t *testing.T) {
	source := func(ref string) *pb.SourceOp { return &pb.SourceOp{Identifier: "docker-image://" + ref} }
	r := resolvePlaceholder(source(placeholder + ":latest"))
	var config ocispecs.Image
	if err := json.Unmarshal(r.Image.Config, &config); err != nil || len(config.Config.Entrypoint) == 0 {
		t.Errorf("config %+v, %v", config, err)
	}
	for _, ref := range []string{placeholder + "2", "docker.io/library/busybox"} {
		if resolvePlaceholder(source(ref)) != nil {
			t.Errorf("%s is taken for the placeholder", ref)
		}
	}
}
