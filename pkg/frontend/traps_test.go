package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gw "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// The frontend asks which capabilities the other side has, and silently leaves out what needs
// others.
func TestEveryCapabilityIsAdvertised(t *testing.T) {
	b := &build{platform: amd64}
	opts := b.gateway(nil).BuildOpts()
	check := func(list []apicaps.CapID, set apicaps.CapSet) {
		for _, id := range list {
			if err := set.Supports(id); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	check([]apicaps.CapID{
		pb.CapExecMetaCDI, pb.CapExecMetaUlimit, pb.CapExecMetaCgroupParent,
		pb.CapExecMetaLinuxResources, pb.CapExecMountTmpfsSize, pb.CapMergeOp, pb.CapFileBase,
		pb.CapExecMountBindReadWriteNoOutput, pb.CapFileCopyIncludeExcludePatterns,
	}, opts.LLBCaps)
	check([]apicaps.CapID{gwpb.CapFrontendInputs, gwpb.CapReadFile, gwpb.CapStatFile}, opts.Caps)
}

func TestRunOptionsSurvive(t *testing.T) {
	p := newProject("FROM busybox\nRUN true\n")
	p.opts.Ulimits = []isolation.Ulimit{{Name: "nofile", Soft: 1024, Hard: 2048}}
	p.opts.ShmSize = 1 << 20
	p.opts.CgroupParent = "build"
	p.opts.Resources = isolation.Resources{
		Memory: 1 << 30, MemorySwap: -1, CPUShares: 2, CPUPeriod: 100_000, CPUQuota: 50_000,
		CPUSetCPUs: "0-1", CPUSetMems: "0",
	}
	p.opts.Hosts = []isolation.Host{{Name: "one", IP: "10.0.0.1"}, {Name: "six", IP: "::1"}}
	p.opts.Hostname = "builder"
	p.opts.Network = "none"

	e := rootExec(t, p)
	if want := p.opts.Ulimits; !slices.Equal(e.Ulimits, want) {
		t.Errorf("ulimits %v, want %v", e.Ulimits, want)
	}
	if want := p.opts.Hosts; !slices.Equal(e.Hosts, want) {
		t.Errorf("hosts %v, want %v", e.Hosts, want)
	}
	if e.CgroupParent != "build" || e.Hostname != "builder" || e.Network != isolation.NetworkNone {
		t.Errorf("cgroup parent %q, hostname %q, network %v", e.CgroupParent, e.Hostname, e.Network)
	}
	if e.Resources == nil || *e.Resources != p.opts.Resources {
		t.Errorf("resources %+v, want %+v", e.Resources, p.opts.Resources)
	}
	if i := slices.IndexFunc(e.Mounts, func(m op.ExecMount) bool { return m.Dest == "/dev/shm" }); i < 0 ||
		e.Mounts[i].Type != isolation.MountTmpfs || e.Mounts[i].TmpfsSize != 1<<20 {
		t.Errorf("no /dev/shm of the size in %+v", e.Mounts)
	}
}

func TestCopyLinkIsAMerge(t *testing.T) {
	p := newProject("FROM busybox\nCOPY --link a /b\n")
	v := root(t, p)
	if _, ok := v.Op.(*op.Merge); !ok {
		t.Fatalf("COPY --link is %T", v.Op)
	}
	if _, ok := v.Inputs[0].Vertex.Op.(*op.Image); !ok {
		t.Errorf("lower input is %T, want the base image", v.Inputs[0].Vertex.Op)
	}
	if _, ok := v.Inputs[1].Vertex.Op.(*op.File); !ok {
		t.Errorf("upper input is %T, want the copy", v.Inputs[1].Vertex.Op)
	}
}

func TestRequiredDeviceIsRefused(t *testing.T) {
	p := newProject("FROM busybox\n\nRUN --device=vendor.com/gpu=0,required true\n")
	wantRefused(t, p, 3, "RUN --device=vendor.com/gpu=0 is not supported")
}

func TestOptionalDeviceIsLeftOut(t *testing.T) {
	e := rootExec(t, newProject("FROM busybox\nRUN --device=vendor.com/gpu=0 --device=vendor.com/nic=1 true\n"))
	if want := []string{"vendor.com/gpu=0", "vendor.com/nic=1"}; !slices.Equal(e.AbsentDevices, want) {
		t.Errorf("absent devices %q, want %q", e.AbsentDevices, want)
	}
}

// Without the right capability, converting this panics.
func TestReadWriteBindMountIsDiscarded(t *testing.T) {
	p := newProject("FROM busybox\nRUN --mount=type=bind,target=/src,rw true\n")
	e := rootExec(t, p)
	m := e.Mounts[slices.IndexFunc(e.Mounts, func(m op.ExecMount) bool { return m.Dest == "/src" })]
	if m.ReadOnly || m.Output != -1 || m.Type != isolation.MountBind {
		t.Errorf("mount %+v, want a writable one without output", m)
	}
}

// In LLB, secrets and agents carry output 0, as if they were the root.
func TestSecretAndSSHMountsHaveNoOutput(t *testing.T) {
	p := newProject("FROM busybox\nRUN --mount=type=secret,id=s,uid=1,gid=2,mode=0440 --mount=type=ssh,required true\n")
	v := root(t, p)
	var types []isolation.MountType
	for _, m := range v.Op.(*op.Exec).Mounts {
		types = append(types, m.Type)
		if (m.Output == 0) != (m.Dest == "/") {
			t.Errorf("mount %s has output %d", m.Dest, m.Output)
		}
	}
	want := []isolation.MountType{isolation.MountBind, isolation.MountSecret, isolation.MountSSH}
	if !slices.Equal(types, want) {
		t.Errorf("mounts of types %v, want %v", types, want)
	}
}

// One gateway is asked by all platforms at once, and the frontend writes to the options.
func TestPlatformsAtOnce(t *testing.T) {
	p := newProject("FROM scratch\nARG TARGETPLATFORM\nCOPY . /\nRUN [\"echo\", \"$TARGETPLATFORM\"]\n")
	p.solver.locals["context"] = files{".dockerignore": "x\n"}
	for _, r := range buildForMany(t, p) {
		from := r.Root.Vertex.Inputs[0].Vertex.Inputs[0].Vertex
		if local := from.Op.(*op.Local); !slices.Equal(local.Exclude, []string{"x"}) {
			t.Errorf("%s: build context %+v", r.ID, local)
		}
	}
}

func TestPlatformsShareTheStageOfTheBuildPlatform(t *testing.T) {
	looksUpImagesAtOnce(t)
	p := newProject("FROM --platform=$BUILDPLATFORM busybox AS tools\nRUN make\n" +
		"FROM alpine\nARG TARGETPLATFORM\nCOPY --from=tools /t /t\nRUN echo $TARGETPLATFORM\n")
	tools := map[*op.Vertex]bool{}
	for _, r := range buildForMany(t, p) {
		tools[r.Root.Vertex.Inputs[0].Vertex.Inputs[1].Vertex] = true
	}
	if len(tools) != 1 {
		t.Errorf("the stage is in the graph %d times", len(tools))
	}
}

// buildForMany builds for six platforms, a Dockerfile whose last step is a RUN with TARGETPLATFORM.
func buildForMany(t *testing.T, p *project) []PlatformResult {
	t.Helper()
	p.opts.BuildArgs = map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "h", "BUILDKIT_MULTI_PLATFORM": "1"}
	for _, arch := range []string{"amd64", "arm64", "riscv64", "s390x", "ppc64le"} {
		p.opts.Platforms = append(p.opts.Platforms, op.Platform{OS: "linux", Architecture: arch})
	}
	p.opts.Platforms = append(p.opts.Platforms, op.Platform{OS: "linux", Architecture: "arm", Variant: "v7"})

	res := p.mustBuild(t)
	if len(res.Platforms) != len(p.opts.Platforms) {
		t.Fatalf("%d results", len(res.Platforms))
	}
	for i, r := range res.Platforms {
		want := p.opts.Platforms[i]
		if r.Platform.String() != want.String() || r.ID != want.String() {
			t.Errorf("result %d is for %s (%s), want %s", i, r.Platform, r.ID, want)
		}
		e := r.Root.Vertex.Op.(*op.Exec)
		if e.Platform.String() != want.String() || !slices.Contains(e.Env, "TARGETPLATFORM="+want.String()) {
			t.Errorf("%s: RUN for %s with %q", want, e.Platform, e.Env)
		}
		if e.Hostname != "h" {
			t.Errorf("%s: hostname %q", want, e.Hostname)
		}
		var config ocispecs.Image
		if err := json.Unmarshal(r.Config, &config); err != nil || config.Architecture != want.Architecture {
			t.Errorf("%s: config for %s, %v", want, config.Architecture, err)
		}
	}
	return res.Platforms
}

func TestOptionsAreNotWrittenTo(t *testing.T) {
	p := newProject("# syntax=docker/dockerfile:1\nFROM busybox\nRUN true\n")
	p.opts.BuildArgs = map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "h", "BUILDKIT_MULTI_PLATFORM": "1"}
	p.opts.Labels = map[string]string{"l": "1"}
	p.opts.Contexts = map[string]string{"c": "docker-image://alpine"}
	args, labels, contexts := maps.Clone(p.opts.BuildArgs), maps.Clone(p.opts.Labels), maps.Clone(p.opts.Contexts)
	p.mustBuild(t)
	p.mustBuild(t)
	if !maps.Equal(args, p.opts.BuildArgs) || !maps.Equal(labels, p.opts.Labels) || !maps.Equal(contexts, p.opts.Contexts) {
		t.Errorf("options changed to %+v", p.opts)
	}

	b := &build{platform: amd64}
	g := b.gateway(map[string]string{"a": "1"})
	g.BuildOpts().Opts["b"] = "2"
	if got := g.BuildOpts().Opts; len(got) != 1 {
		t.Errorf("the frontend's writing shows: %v", got)
	}
}

// Without a session, LLB gives local sources random names.
func TestVertexIDsAreTheSameOnEachRun(t *testing.T) {
	looksUpImagesAtOnce(t)
	ids := func() []string {
		p := newProject("FROM busybox AS a\nCOPY . /src\nRUN --mount=target=/ctx make\n" +
			"FROM alpine\nCOPY --from=a --link /out /\nCOPY --from=lib /x /y\nWORKDIR /w\n")
		p.solver.locals["lib"] = files{"x": "1"}
		p.opts.Contexts = map[string]string{"lib": "local:lib"}
		var out []string
		var visit func(v *op.Vertex)
		visit = func(v *op.Vertex) {
			for _, in := range v.Inputs {
				visit(in.Vertex)
			}
			out = append(out, v.ID)
		}
		visit(root(t, p))
		return out
	}
	first := ids()
	for range 3 {
		if again := ids(); !slices.Equal(first, again) {
			t.Fatalf("IDs change:\n%q\n%q", first, again)
		}
	}
}

func TestReadFileRanges(t *testing.T) {
	p := newProject("")
	p.solver.locals["context"] = files{"f": "0123456789", "empty": ""}
	b := &build{solver: &p.solver}
	ref := &reference{build: b, edge: op.Edge{Vertex: &op.Vertex{Op: &op.Local{Name: "context"}}}}
	for _, tt := range []struct {
		name string
		r    *gw.FileRange
		want string
	}{
		{"f", nil, "0123456789"},
		{"/f", nil, "0123456789"},
		{"f", &gw.FileRange{}, ""},
		{"f", &gw.FileRange{Length: 4}, "0123"},
		{"f", &gw.FileRange{Offset: 3, Length: 4}, "3456"},
		{"f", &gw.FileRange{Offset: 8, Length: 4}, "89"},
		{"f", &gw.FileRange{Offset: 10, Length: 1}, ""},
		{"f", &gw.FileRange{Offset: 99, Length: 1}, ""},
		{"f", &gw.FileRange{Length: 1 << 40}, "0123456789"},
		{"empty", &gw.FileRange{Length: maxRead}, ""},
	} {
		got, err := ref.ReadFile(t.Context(), gw.ReadRequest{Filename: tt.name, Range: tt.r})
		if err != nil || string(got) != tt.want {
			t.Errorf("%s %+v: %q, %v, want %q", tt.name, tt.r, got, err, tt.want)
		}
	}
	for _, r := range []gw.FileRange{{Offset: -1, Length: 1}, {Length: -1}} {
		if got, err := ref.ReadFile(t.Context(), gw.ReadRequest{Filename: "f", Range: &r}); err == nil {
			t.Errorf("range %+v gives %q", r, got)
		}
	}
}

// A base image of no layers is the same as scratch, but its config counts.
func TestBaseWithoutLayersIsScratch(t *testing.T) {
	p := newProject("FROM empty\nENV B=2\n")
	p.images.configs = map[string]ocispecs.Image{
		"docker.io/library/empty:latest": {Config: ocispecs.ImageConfig{Env: []string{"A=1"}}},
	}
	r := p.mustBuild(t).Platforms[0]
	if r.Root != nil {
		t.Errorf("root filesystem %s", dump(r.Root))
	}
	var config ocispecs.Image
	if err := json.Unmarshal(r.Config, &config); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(config.Config.Env, "A=1") || !slices.Contains(config.Config.Env, "B=2") {
		t.Errorf("environment %q", config.Config.Env)
	}
}

func TestScratchWithMetadataOnlyHasNoRoot(t *testing.T) {
	p := newProject("FROM scratch\nENV A=1\nCMD [\"/x\"]\n")
	p.opts.Platforms = []op.Platform{amd64, {OS: "linux", Architecture: "arm64"}}
	for _, r := range p.mustBuild(t).Platforms {
		if r.Root != nil || len(r.Config) == 0 || r.BaseConfig != nil {
			t.Errorf("%s: root %v, config %s, base %s", r.ID, r.Root, r.Config, r.BaseConfig)
		}
	}
}

// What the image's config says about layers and times is for the image package to put right.
func TestConfigKeepsTheBaseRootFSAndNoTime(t *testing.T) {
	p := newProject("FROM busybox\nRUN true\n")
	r := p.mustBuild(t).Platforms[0]
	var config, base ocispecs.Image
	if err := json.Unmarshal(r.Config, &config); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.BaseConfig, &base); err != nil {
		t.Fatal(err)
	}
	if len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != base.RootFS.DiffIDs[0] || config.Created != nil {
		t.Errorf("rootfs %v, created %v", config.RootFS, config.Created)
	}
}

func TestIgnorePatternsBecomePartOfTheContext(t *testing.T) {
	p := newProject("FROM scratch\nCOPY . /\n")
	p.solver.locals["context"] = files{".dockerignore": "# comment\n*.log\n!keep.log\n"}
	local := root(t, p).Inputs[0].Vertex.Op.(*op.Local)
	if want := []string{"*.log", "!keep.log"}; !slices.Equal(local.Exclude, want) {
		t.Errorf("excluded %q, want %q", local.Exclude, want)
	}

	p.solver.locals["dockerfile"]["Dockerfile.dockerignore"] = "own\n"
	local = root(t, p).Inputs[0].Vertex.Op.(*op.Local)
	if want := []string{"own"}; !slices.Equal(local.Exclude, want) {
		t.Errorf("excluded %q, want %q", local.Exclude, want)
	}
}

// The frontend takes every error of reading an ignore file for its absence.
func TestUnreadableIgnoreFileFails(t *testing.T) {
	p := newProject("FROM scratch\nCOPY . /\n")
	broken := &brokenSolver{localSolver: &p.solver}
	_, err := Build(t.Context(), p.opts, broken, &p.images, nil)
	if err == nil || !strings.Contains(err.Error(), "reading .dockerignore: disk on fire") {
		t.Errorf("error %v", err)
	}
}

// brokenSolver cannot read the build context.
type brokenSolver struct{ *localSolver }

func (s *brokenSolver) Solve(ctx context.Context, e op.Edge) (*tree.Tree, error) {
	if l, ok := e.Vertex.Op.(*op.Local); ok && l.Name == "context" {
		return nil, fmt.Errorf("disk on fire")
	}
	return s.localSolver.Solve(ctx, e)
}

func TestNothingIsSolvedThatIsNotRead(t *testing.T) {
	p := newProject("FROM busybox AS a\nCOPY . /src\nRUN make\nFROM alpine AS unused\nRUN false\nFROM a\n")
	p.mustBuild(t)
	want := []string{
		"local://dockerfile followpaths=[Dockerfile Dockerfile.dockerignore dockerfile]",
		"local://context followpaths=[.dockerignore]",
	}
	slices.Sort(p.solver.solved)
	got := slices.Compact(p.solver.solved)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("solved %q, want %q", got, want)
	}
	if want := []string{"docker.io/library/busybox:latest linux/amd64 default"}; !slices.Equal(p.images.asked, want) {
		t.Errorf("resolved %q, want %q", p.images.asked, want)
	}
}

func TestSourceDateEpoch(t *testing.T) {
	p := newProject("FROM scratch\nWORKDIR /w\n")
	p.opts.BuildArgs = map[string]string{"SOURCE_DATE_EPOCH": "1700000000"}
	r := p.mustBuild(t).Platforms[0]
	want := time.Unix(1_700_000_000, 0).UTC()
	if r.Epoch == nil || !r.Epoch.Equal(want) {
		t.Errorf("epoch %v, want %v", r.Epoch, want)
	}
	mkdir := r.Root.Vertex.Op.(*op.File).Actions[0].Mkdir
	if mkdir.Timestamp == nil || !mkdir.Timestamp.Equal(want) {
		t.Errorf("WORKDIR is of %v, want %v", mkdir.Timestamp, want)
	}
}

func TestBaseImageIsPinned(t *testing.T) {
	p := newProject("FROM busybox:1.36\nRUN true\n")
	image := root(t, p).Inputs[0].Vertex.Op.(*op.Image)
	ref := "docker.io/library/busybox:1.36"
	if want := ref + "@" + digest.FromString(ref+"linux/amd64").String(); image.Ref != want {
		t.Errorf("reference %q, want %q", image.Ref, want)
	}
}
