package namespace_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
)

// cacheVariable gives the process that TestBuilderDies starts its directory.
const cacheVariable = "SLIPWAY_TEST_CACHE"

// TestBuilderDies kills a builder in the middle of a RUN. The process must not outlive it.
func TestBuilderDies(t *testing.T) {
	if dir := os.Getenv(cacheVariable); dir != "" {
		b := newBackend(t, newState(t))
		_, err := b.Run(t.Context(), &isolation.Process{
			Root: isolationtest.Rootfs(t), Args: []string{"sh", "-c", "while :; do date +%N >>/cache/tick; usleep 1000; done"},
			Env: []string{"PATH=/bin"}, Cwd: "/",
			Mounts: []isolation.Mount{{Type: isolation.MountCache, Target: "/cache", HostDir: dir}},
		})
		t.Errorf("Run came back: %v", err)
		return
	}
	_ = isolationtest.Rootfs(t) // skips without busybox
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(self, "-test.run", "^TestBuilderDies$")
	cmd.Env = append(os.Environ(), cacheVariable+"="+dir, "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "tick"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	await(t, "the process to start", func() bool { return size() > 0 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	await(t, "the process to end", func() bool {
		before := size()
		time.Sleep(100 * time.Millisecond)
		return size() == before
	})
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s took a minute", what)
		}
	}
}

// TestBuilderDiesWithMaskedProc does so where no PID namespace ends the processes.
func TestBuilderDiesWithMaskedProc(t *testing.T) {
	inPod(t, "TestBuilderDies", podCapabilities, maskProc)
}
