package golden

import (
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// Where the container of the cases has their directories, and its state directory.
const (
	containerWork  = "/golden"
	containerState = "/slipway-state"
)

// caseTime is how long the build of one case may take.
const caseTime = time.Minute

// backend is an isolation that is tested in a pod, one whose shape lets no better one work.
type backend struct {
	name  string // also, with a dot, the prefix of the sections that say how it differs
	shape pod.Shape
}

// backends are those that are tested in pods.
func backends() []backend {
	return []backend{{"inplace", pod.Baseline()}, {"sandbox", pod.Restricted()}}
}

// container is one like those of a pod, in which all cases are built, one after the other.
type container struct {
	*suite
	backend

	work  string // containerWork on this machine
	shell *pod.Shell
}

// startContainer starts the container; it ends with the test, and has then to be as it was.
func (s *suite) startContainer(t *testing.T, b backend) *container {
	t.Helper()
	pod.Require(t)
	if !s.canRun {
		t.Skip("the container's shell is a static busybox (Debian: busybox-static)")
	}
	t.Setenv(testbin.Env, s.binary)
	c := &container{suite: s, backend: b, work: pod.EmptyDir(t)}
	spec := pod.Slipway(t, b.shape)
	spec.HostNetwork = true // where the registry is
	spec.Volumes = []pod.Volume{{Path: containerState, Host: pod.EmptyDir(t)}}
	c.shell = pod.StartShell(t, spec, pod.Volume{Path: containerWork, Host: c.work, Owner: b.shape.UID})
	return c
}

// check builds one case in the container and compares.
func (c *container) check(t *testing.T, gc *goldenCase) {
	c.skipUnlessPossible(t, gc)
	dir := filepath.Join(c.work, gc.name)
	if err := gc.setup(dir, c.bases); err != nil {
		t.Fatal(err)
	}
	const out = "out"
	end := c.run(t, gc, out)
	end.stderr = strings.NewReplacer(
		c.host, registryName, path.Join(containerWork, gc.name), "$WORK", containerState, "$STATE",
	).Replace(end.stderr)
	want := gc.wantsUnder(c.name)
	_, fails := want[sectionError]
	if !*update {
		end.expect(t, fails)
	}
	got, digest := c.outcome(t, gc, filepath.Join(dir, out), end)
	if *update {
		if err := gc.updateUnder(c.name, got); err != nil {
			t.Fatal(err)
		}
		return
	}
	compare(t, want, got)
	if _, other := gc.section(c.name + "." + wantPrefix + "tree"); !fails && !other && gc.digest != "" && digest != gc.digest {
		t.Errorf("the build gives %s, that with namespaces %s", digest, gc.digest)
	}
}

// run runs slipway in the container, in the directory of a case.
func (c *container) run(t *testing.T, gc *goldenCase, out string) ending {
	t.Helper()
	args := append([]string{"slipway"}, c.arguments(gc, out, containerState)...)
	code, stderr := c.shell.Run(t, gc.name, gc.lines(sectionEnv), caseTime, append(args, "--isolation="+c.name)...)
	return ending{code, stderr}
}
