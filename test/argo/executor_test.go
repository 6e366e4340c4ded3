package argo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// executorModule has Argo's executor; go.mod says in which version.
const executorModule = "github.com/argoproj/argo-workflows/v3"

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
	var module struct{ Version, Dir string }
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", executorModule).Output()
	if err != nil {
		return "", fmt.Errorf("downloading Argo: %w", err)
	}
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("downloading Argo: %w", err)
	}
	rootfs := filepath.Join(cache, "argoexec-"+module.Version)
	if _, err := os.Stat(rootfs); err == nil {
		return rootfs, nil
	}
	scratch, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	image := filepath.Join(scratch, "rootfs")
	for _, dir := range []string{"", "bin", "tmp", "etc", "argo"} {
		if err := os.Mkdir(filepath.Join(image, dir), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(filepath.Join(image, "tmp"), 0o777|os.ModeSticky); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(image, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/false\n"), 0o644); err != nil {
		return "", err
	}
	modfile, err := restoreSource(module.Dir, scratch)
	if err != nil {
		return "", err
	}
	if err := build(ctx, ".", filepath.Join(image, "bin/argoexec"), executorModule+"/cmd/argoexec", "-modfile="+modfile); err != nil {
		return "", err
	}
	return rootfs, os.Rename(image, rootfs)
}

// restoreSource copies the source of Argo, and gives a go.mod that uses the copy. In the repository the file
// signal_linux.go is a symbolic link, which modules cannot have: without it argoexec does not
// compile for Linux.
func restoreSource(module, scratch string) (modfile string, err error) {
	source := filepath.Join(scratch, "argo-workflows")
	err = filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(module, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Mkdir(filepath.Join(source, name), 0o755)
		}
		if ext := filepath.Ext(name); ext != ".go" && ext != ".mod" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(source, name), data, 0o644)
	})
	if err != nil {
		return "", err
	}
	err = os.Symlink("signal_darwin.go", filepath.Join(source, "workflow/executor/osspecific/signal_linux.go"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	ours, err := os.ReadFile("go.mod")
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		return "", err
	}
	modfile = filepath.Join(scratch, "go.mod")
	ours = fmt.Appendf(ours, "\nreplace %s => %s\n", executorModule, source)
	return modfile, errors.Join(os.WriteFile(modfile, ours, 0o644), os.WriteFile(filepath.Join(scratch, "go.sum"), sums, 0o644))
}

// build compiles a program, dir being in its module.
func build(ctx context.Context, dir, out, program string, flags ...string) error {
	args := slices.Concat([]string{"build", "-buildvcs=false", "-ldflags=-s -w", "-o", out}, flags, []string{program})
	cmd := exec.CommandContext(ctx, "go", args...)
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
