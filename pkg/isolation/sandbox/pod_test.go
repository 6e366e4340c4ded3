package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/runsc/config"

	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/test/pod"
)

// suiteVariable marks the environment of the test that TestInPods runs in a container.
const suiteVariable = "SLIPWAY_TEST_IN_CONTAINER"

// TestInPods runs the suite in a container made as Kubernetes makes them, with the least privilege. Root in other ones is that of
// TestBackend, but for what it does not need.
func TestInPods(t *testing.T) {
	if os.Getenv(suiteVariable) != "" {
		limits := isolationtest.Limits{}
		if os.Geteuid() != 0 {
			limits.Except = map[string]string{"Walls/the default capabilities and no more": "the pod's network is used, for which there is no NET_RAW"}
		}
		isolationtest.Run(t, newBackend(t), limits)
		return
	}
	if config.CgoEnabled {
		t.Skip("the sandbox needs a program without cgo")
	}
	pod.Require(t)
	dir := t.TempDir()
	isolationtest.Volume(t, filepath.Join(dir, "volume"))
	isolationtest.PodRootfs(t, filepath.Join(dir, "rootfs"))
	shape := pod.Restricted()
	result := pod.Run(t, pod.Spec{
		Shape: shape, Rootfs: filepath.Join(dir, "rootfs"), DiffRoot: true, Timeout: 15 * time.Minute,
		Args:    isolationtest.SuiteArgs(),
		Env:     isolationtest.SuiteEnv(suiteVariable + "=1"),
		Volumes: []pod.Volume{{Path: isolationtest.SuiteVolume, Host: filepath.Join(dir, "volume"), Owner: shape.UID}},
	})
	if result.ExitCode != 0 || !strings.Contains(result.Stdout, "--- PASS: TestInPods/Files/") {
		t.Errorf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	for _, change := range result.RootDiff {
		t.Errorf("the pod's root is not as before: %v", change)
	}
}
