package golden

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
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

// container is one like those of a pod under the usual profile for system calls, in which slipway can run
// processes in place only. All cases are built in it, one after the other.
type container struct {
	*suite
	work    string    // containerWork on this machine
	scripts io.Writer // takes lines, each the path of a shell script to run
}

// startContainer starts the container; it ends with the test, and has then to be as it was.
func (s *suite) startContainer(t *testing.T) *container {
	t.Helper()
	pod.Require(t)
	if !s.canRun {
		t.Skip("the container's shell is a static busybox (Debian: busybox-static)")
	}
	t.Setenv(testbin.Env, s.binary)
	c := &container{suite: s, work: pod.EmptyDir(t)}
	spec := pod.Slipway(t, pod.Baseline())
	// The debug image has a shell.
	spec.Rootfs, spec.Args = pod.SlipwayDebugRootfs(t), []string{"sh", "-c", `while read -r script; do sh "$script"; done`}
	spec.HostNetwork, spec.DiffRoot = true, true // where the registry is
	spec.Volumes = []pod.Volume{{Path: containerWork, Host: c.work}, {Path: containerState, Host: pod.EmptyDir(t)}}
	stdin, scripts := io.Pipe()
	spec.Stdin, c.scripts = stdin, scripts
	p := pod.Start(t, spec)
	t.Cleanup(func() {
		if err := scripts.Close(); err != nil {
			t.Error(err)
		}
		result := p.Wait()
		if result.ExitCode != 0 {
			t.Errorf("the container ended with %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
		}
		for _, change := range result.RootDiff {
			t.Errorf("the container's root changed: %s", change)
		}
	})
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
	want := gc.wantsInplace()
	_, fails := want[sectionError]
	if !*update {
		end.expect(t, fails)
	}
	got, digest := c.outcome(t, gc, filepath.Join(dir, out), end)
	if *update {
		if err := gc.updateInplace(got); err != nil {
			t.Fatal(err)
		}
		return
	}
	compare(t, want, got)
	if _, other := gc.section(inplacePrefix + wantPrefix + "tree"); !fails && !other && gc.digest != "" && digest != gc.digest {
		t.Errorf("the build gives %s, that with namespaces %s", digest, gc.digest)
	}
}

// run runs slipway in the container, in the directory of a case.
func (c *container) run(t *testing.T, gc *goldenCase, out string) ending {
	t.Helper()
	dir := filepath.Join(c.work, gc.name)
	var script strings.Builder
	fmt.Fprintf(&script, "cd %s\n", path.Join(containerWork, gc.name))
	for _, variable := range gc.lines(sectionEnv) {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&script, "export %s=%s\n", name, quoted(value))
	}
	script.WriteString("slipway")
	for _, arg := range append(c.arguments(gc, out, containerState), "--isolation=inplace") {
		script.WriteString(" " + quoted(arg))
	}
	script.WriteString(" </dev/null 2>stderr\necho $? >code.new\nmv code.new code\n")
	if err := writeFile(filepath.Join(dir, "script"), []byte(script.String())); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(c.scripts, path.Join(containerWork, gc.name, "script")); err != nil {
		t.Fatal(err)
	}
	code, err := strconv.Atoi(strings.TrimSpace(waitFor(t, filepath.Join(dir, "code"))))
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := os.ReadFile(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	return ending{code, string(stderr)}
}

// quoted gives text as one word of the shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// waitFor gives the content of a file that is going to be there.
func waitFor(t *testing.T, file string) string {
	t.Helper()
	for deadline := time.Now().Add(caseTime); ; time.Sleep(10 * time.Millisecond) {
		data, err := os.ReadFile(file)
		if err == nil {
			return string(data)
		}
		if !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			t.Fatalf("the build does not end: %v", err)
		}
	}
}
