package frontend

import (
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Build arguments that mean something without an ARG.
func TestBuiltInArguments(t *testing.T) {
	p := newProject("FROM busybox\nRUN --mount=type=cache,target=/c true\n")
	p.opts.BuildArgs = map[string]string{"BUILDKIT_CACHE_MOUNT_NS": "space", "BUILDKIT_SANDBOX_HOSTNAME": "name", "http_proxy": "http://proxy"}
	e := rootExec(t, p)
	for _, m := range e.Mounts {
		if m.Type == isolation.MountCache && m.CacheID != "space//c" {
			t.Errorf("cache %q is not in its name space", m.CacheID)
		}
	}
	if e.Hostname != "name" {
		t.Errorf("host name %q", e.Hostname)
	}
	if len(e.ProxyEnv) == 0 {
		t.Error("the proxy is lost")
	}
}

// The name that docker buildx lists a build under is no part of the build.
func TestBuildNameChangesNothing(t *testing.T) {
	const dockerfile = "FROM busybox\nCOPY a /\nRUN true\n"
	want := newProject(dockerfile).mustBuild(t).Platforms[0]
	p := newProject(dockerfile)
	p.opts.BuildArgs = map[string]string{"BUILDKIT_BUILD_NAME": "nightly"}
	got := p.mustBuild(t).Platforms[0]
	if dump(got.Root) != dump(want.Root) || string(got.Config) != string(want.Config) {
		t.Errorf("got\n%s%s\nwant\n%s%s", dump(got.Root), got.Config, dump(want.Root), want.Config)
	}
}

func TestSourceDateEpochInTheDockerfile(t *testing.T) {
	p := newProject("ARG SOURCE_DATE_EPOCH=1700000000\nFROM scratch\nWORKDIR /w\n")
	if e := p.mustBuild(t).Platforms[0].Epoch; e == nil || e.Unix() != 1_700_000_000 {
		t.Errorf("epoch %v", e)
	}
	p.opts.BuildArgs = map[string]string{"SOURCE_DATE_EPOCH": "5"}
	if e := p.mustBuild(t).Platforms[0].Epoch; e == nil || e.Unix() != 5 {
		t.Errorf("epoch %v: the build argument does not win", e)
	}
}

// The time can be that of a context; a directory has none.
func TestSourceDateEpochOfADirectory(t *testing.T) {
	p := newProject("FROM scratch\nCOPY a /\n")
	p.opts.BuildArgs = map[string]string{"SOURCE_DATE_EPOCH": "context"}
	if e := p.mustBuild(t).Platforms[0].Epoch; e != nil {
		t.Errorf("epoch %v", e)
	}
	p.opts.BuildArgs["SOURCE_DATE_EPOCH"] = "nothing"
	if _, err := p.build(t.Context()); err == nil {
		t.Error("what is neither number nor context is accepted")
	}
}

// Attestations are the caller's to make: the frontend would look up a scanner for them.
func TestAttestationsAreNotTheFrontends(t *testing.T) {
	for _, name := range []string{"BUILDKIT_ATTEST_SBOM", "BUILDKIT_ATTEST_PROVENANCE"} {
		p := newProject("FROM scratch\n")
		p.opts.BuildArgs = map[string]string{name: "true"}
		if _, err := p.build(t.Context()); err != nil || len(p.images.asked) > 0 {
			t.Errorf("%s: %v, images looked up: %q", name, err, p.images.asked)
		}
	}
}
