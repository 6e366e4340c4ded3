package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

const hungry = "ARG BASE\nFROM $BASE\nRUN head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null\n"

// A RUN that uses more memory than --memory allows is killed, and the message says why.
func TestMemoryLimit(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{"Dockerfile": hungry})
	args := []string{"build", "--isolation", "namespace", "--build-arg", "BASE=" + base, "--insecure-registry", host, "--no-push", context}
	got := slipway(t, t.TempDir(), append(args, "--memory", "32m")...)
	if got.code == 77 {
		t.Skip(got.stderr)
	}
	if got.code != 137 || !strings.Contains(got.stderr, "Dockerfile:3: process") || !strings.Contains(got.stderr, "out of memory") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	mustSlipway(t, t.TempDir(), append(args, "-m", "1g", "--cpu-shares", "512", "--cpu-quota", "50000", "--cpuset-cpus", "0")...)
}

// Where control groups cannot be written, limits are refused before a layer is fetched.
func TestLimitsAreRefusedAtOnce(t *testing.T) {
	needRoot(t)
	host, base, layer, asked := watchedBase(t, runtime.GOARCH)
	context := write(t, map[string]string{"Dockerfile": hungry})
	for _, flag := range []string{"--memory=32m", "--cpu-quota=1000", "--cpuset-cpus=0", "--cgroup-parent=/builds"} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-ec", `
			awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts | while read -r m; do mount -o remount,bind,ro "$m"; done
			mount -o remount,bind,ro /sys/fs/cgroup
			exec "$@"`, "sh", shared.binary,
			"build", "--isolation", "namespace", "--build-arg", "BASE="+base, "--insecure-registry", host, "--no-push", flag, context)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SLIPWAY_STATE_DIR=" + dir + "/state", "BUILDKIT_PROGRESS=plain"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 77 || !strings.Contains(errs.String(), "Dockerfile:3: ") || !strings.Contains(errs.String(), "read-only") {
			t.Errorf("%s: %v\n%s", flag, err, errs.String())
		}
	}
	if log := asked(); strings.Contains(log, layer) || !strings.Contains(log, "/manifests/") {
		t.Errorf("the registry was asked for\n%s", log)
	}
}
