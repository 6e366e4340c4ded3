package inplace_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/test/pod"
)

// TestInPods runs the suite in containers made as Kubernetes makes them, and compares their root
// filesystems with what they were before.
func TestInPods(t *testing.T) {
	if os.Getenv(throwaway) == inPod {
		suite(t)
		return
	}
	pod.Require(t)
	dir := t.TempDir()
	podImage(t, dir)
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			result := pod.Run(t, pod.Spec{
				Shape: shape, Rootfs: filepath.Join(dir, "lower"), DiffRoot: true, Timeout: 5 * time.Minute,
				Args:    isolationtest.SuiteArgs(),
				Env:     isolationtest.SuiteEnv(throwaway + "=" + inPod),
				Volumes: []pod.Volume{{Path: isolationtest.SuiteVolume, Host: filepath.Join(dir, "volume")}},
			})
			t.Logf("%s%s", result.Stdout, result.Stderr)
			if result.ExitCode != 0 {
				t.Errorf("exit code %d", result.ExitCode)
			}
			for _, change := range result.RootDiff {
				t.Errorf("the pod's root is not as before: %v", change)
			}
		})
	}
}
