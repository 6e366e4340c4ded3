package argo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// executorPackage is Argo's executor, of the version in go.mod.
const executorPackage = "github.com/argoproj/argo-workflows/v3/cmd/argoexec"

// suite is what all tests share; it does not change after TestMain.
type suite struct {
	executor string // the root filesystem of an image with argoexec
}

var shared suite

func TestMain(m *testing.M) {
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// prepare compiles what the tests run, unless it is in the user's cache already.
func prepare(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		// There is no home directory.
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "slipway-test-argo")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	lock, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", cache, err)
	}
	if os.Getenv(testbin.Env) == "" {
		// In its own module: this one has other versions of what it needs.
		binary := filepath.Join(cache, "slipway")
		if err := build(ctx, top, binary, "./cmd/slipway"); err != nil {
			return err
		}
		if err := os.Setenv(testbin.Env, binary); err != nil {
			return err
		}
	}
	shared.executor, err = makeExecutor(ctx, cache)
	return err
}

// makeExecutor makes a root filesystem with argoexec, once for each version.
func makeExecutor(ctx context.Context, cache string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", strings.TrimSuffix(executorPackage, "/cmd/argoexec")).Output()
	if err != nil {
		return "", fmt.Errorf("asking for the version of Argo: %w", err)
	}
	rootfs := filepath.Join(cache, "argoexec-"+strings.TrimSpace(string(out)))
	if _, err := os.Stat(rootfs); err == nil {
		return rootfs, nil
	}
	scratch, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil {
		return "", err
	}
	for _, dir := range []string{"bin", "tmp", "etc", "argo"} {
		if err := os.Mkdir(filepath.Join(scratch, dir), 0o755); err != nil {
			return "", err
		}
	}
	err = errors.Join(
		os.Chmod(filepath.Join(scratch, "tmp"), 0o777|os.ModeSticky),
		os.WriteFile(filepath.Join(scratch, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/false\n"), 0o644),
		build(ctx, ".", filepath.Join(scratch, "bin/argoexec"), executorPackage),
	)
	if err != nil {
		return "", err
	}
	return rootfs, os.Rename(scratch, rootfs)
}

// build compiles a program, dir being in its module.
func build(ctx context.Context, dir, out, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", out, program)
	if !filepath.IsAbs(out) {
		return fmt.Errorf("%s is not absolute", out)
	}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if log, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling %s: %w\n%s", program, err, log)
	}
	return nil
}

// executorRootfs is the image of Argo's executor.
func executorRootfs(t *testing.T) string {
	t.Helper()
	pod.Require(t)
	return shared.executor
}
