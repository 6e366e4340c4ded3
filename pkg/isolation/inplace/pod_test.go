package inplace_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

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
	copyFile(t, "/proc/self/exe", filepath.Join(dir, "volume/inplace.test"))
	if err := os.Chmod(filepath.Join(dir, "volume"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			result := pod.Run(t, pod.Spec{
				Shape: shape, Rootfs: filepath.Join(dir, "lower"), DiffRoot: true, Timeout: 5 * time.Minute,
				Args:    []string{"/work/inplace.test", "-test.v", "-test.run=^TestInPods$"},
				Env:     []string{throwaway + "=" + inPod, "PATH=/work/bin", "TMPDIR=/work/tmp"},
				Volumes: []pod.Volume{{Path: "/work", Host: filepath.Join(dir, "volume")}},
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

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
