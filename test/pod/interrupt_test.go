package pod_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/test/pod"
	"github.com/slipway-build/slipway/test/pod/internal/probe"
)

// interrupted changes the root in all the ways that have to be undone.
const interrupted = `FROM base
RUN --mount=type=secret,id=token --mount=type=cache,target=/c --mount=type=tmpfs,target=/m \
    mkdir /made && echo x >/etc/made && rm -r /home /usr && mv /tmp /tmp2 && echo x >>/c/x && cp /run/secrets/token /m
`

// interruptBuilds runs a build again and again in one container and sends it a signal, each time at
// another moment.
func interruptBuilds(t *testing.T, signal syscall.Signal, tries int) *probe.Interruptions {
	t.Helper()
	needShell(t)
	spec, _ := slipwaySpec(t, pod.Baseline(), interrupted, "--isolation=inplace", "--secret=id=token,src=/secret/token", "--add-host=other:10.0.0.1")
	secret := t.TempDir()
	write(t, filepath.Join(secret, "token"), token)
	spec.Volumes = append(spec.Volumes, pod.Volume{Path: "/secret", Host: secret, ReadOnly: true}, pod.Volume{Path: "/probe", Host: shared.probe, ReadOnly: true})
	program := spec.Args[0]
	if signal == syscall.SIGKILL {
		// Where it was, it is not until the root is repaired.
		spec.Volumes = append(spec.Volumes, pod.Volume{Path: "/program", Host: filepath.Join(spec.Rootfs, "usr/local/bin"), ReadOnly: true})
		program = "/program/slipway"
	}
	seed := time.Now().UnixNano()
	t.Logf("the seed of the moments is %d", seed)
	spec.Args = append([]string{"/probe/probe", "interrupt", fmt.Sprint(int(signal)), fmt.Sprint(tries), fmt.Sprint(seed), "/workspace/image", program}, spec.Args[1:]...)
	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", result.ExitCode, result.Stderr)
	}
	sameAsBefore(t, result)
	all, err := probe.ReadInterruptions(result.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	hits := map[string]int{}
	for _, try := range all.Tries {
		hits[try.Phase]++
	}
	t.Logf("undisturbed, the phases take %v; signals came in the phases %v", all.Took, hits)
	if hits[probe.Placed] == 0 {
		t.Error("no signal came while the image was in the root")
	}
	return all
}

// SIGTERM, at whatever moment around a RUN: the root is as before when the build ends, without
// any repair by the next one.
func TestTerminateAnytime(t *testing.T) {
	t.Parallel()
	const tries = 24
	stopped := 0
	for i, try := range interruptBuilds(t, syscall.SIGTERM, tries).Tries {
		switch {
		case try.Code == 128+int(syscall.SIGTERM) && (!try.Made || try.Phase == probe.After):
			stopped++
		case try.Code == 0 && try.Made && try.Phase == probe.After: // it came too late
		default:
			t.Errorf("try %d: exit code %d, image there: %v\n%s", i, try.Code, try.Made, try.Output)
		}
		if len(try.Changed) > 0 || strings.Contains(try.Output, "interrupted") || strings.Contains(try.Output, "restore") {
			t.Errorf("try %d, after %v (%q): changed %q\n%s", i, try.Delay, try.Phase, try.Changed, try.Output)
		}
	}
	if stopped < tries/2 {
		t.Errorf("only %d of %d builds were stopped", stopped, tries)
	}
}

// SIGKILL, at whatever moment: the next build in the container repairs the root, says so, and
// succeeds.
func TestKillAnytime(t *testing.T) {
	t.Parallel()
	const note = "an earlier build was interrupted while its files were in the root directory: restored it"
	for i, try := range interruptBuilds(t, syscall.SIGKILL, 10).Tries {
		if try.Code != 128+int(syscall.SIGKILL) && (try.Code != 0 || try.Phase != probe.After) {
			t.Errorf("try %d: exit code %d\n%s", i, try.Code, try.Output)
		}
		next := try.Next
		if next.Code != 0 || !next.Made || len(next.Changed) > 0 {
			t.Errorf("try %d, after %v (%q): the next build ended with %d, image there: %v, changed %q\n%s",
				i, try.Delay, try.Phase, next.Code, next.Made, next.Changed, next.Output)
		}
		if try.Phase == probe.Placed && !strings.Contains(next.Output, note) {
			t.Errorf("try %d: the next build does not tell of the repair:\n%s", i, next.Output)
		}
	}
}
