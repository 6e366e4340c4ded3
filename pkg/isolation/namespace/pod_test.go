package namespace_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/test/pod"
)

// suiteVariable marks the environment of the test that TestInPods runs in a container.
const suiteVariable = "SLIPWAY_TEST_IN_CONTAINER"

// TestInPods runs the suite in containers made as Kubernetes makes them. It must pass where namespaces can be
// made, and in the other shapes the backend must refuse with what is missing.
func TestInPods(t *testing.T) {
	if os.Getenv(suiteVariable) != "" {
		suiteInContainer(t)
		return
	}
	pod.Require(t)
	dir := t.TempDir()
	isolationtest.Volume(t, filepath.Join(dir, "volume"))
	isolationtest.PodRootfs(t, filepath.Join(dir, "rootfs"))
	for _, c := range []struct {
		shape   pod.Shape
		refused string // part of the reason, "" if the suite must pass
	}{
		{pod.Default(), ""},
		{pod.UserNS(), ""},
		{pod.Privileged(), ""},
		{pod.ReadonlyRoot(), ""},
		{pod.Baseline(), "seccomp"},
		{pod.Restricted(), "capabilities"},
	} {
		t.Run(c.shape.Name, func(t *testing.T) {
			result := pod.Run(t, pod.Spec{
				Shape: c.shape, Rootfs: filepath.Join(dir, "rootfs"), DiffRoot: true, Timeout: 8 * time.Minute,
				Args:    isolationtest.SuiteArgs(),
				Env:     isolationtest.SuiteEnv(suiteVariable + "=1"),
				Volumes: []pod.Volume{{Path: isolationtest.SuiteVolume, Host: filepath.Join(dir, "volume")}},
			})
			if c.refused == "" {
				if result.ExitCode != 0 || !strings.Contains(result.Stdout, "--- PASS: TestInPods/Files/") {
					t.Errorf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
				}
			} else if !strings.Contains(result.Stdout, "refused: ") || !strings.Contains(result.Stdout, c.refused) {
				t.Errorf("exit code %d, want a refusal because of %s\n%s%s", result.ExitCode, c.refused, result.Stdout, result.Stderr)
			}
			for _, change := range result.RootDiff {
				t.Errorf("the pod's root is not as before: %v", change)
			}
		})
	}
}

func suiteInContainer(t *testing.T) {
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := namespace.New(st, namespace.Options{})
	var unsupported *isolation.UnsupportedError
	if errors.As(err, &unsupported) {
		t.Fatal("refused: " + unsupported.Reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	isolationtest.Run(t, b, isolationtest.Limits{NoDevices: !hasSysAdmin(t)})
	if err := errors.Join(b.Close(), st.Close()); err != nil {
		t.Error(err)
	}
}
