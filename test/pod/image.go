package pod

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
)

// keepImages is for how long a root filesystem that is no longer used is kept.
const keepImages = 24 * time.Hour

// SlipwayRootfs gives the root filesystem of slipway's own image. It is made by slipway from the Dockerfile at the top of the
// repository, once for each version of the program, in the user's cache directory; it must not be written to.
// Only what compiles the program there is replaced by the program that the tests have.
func SlipwayRootfs(t testing.TB) string {
	t.Helper()
	return slipwayRootfs(t, "slipway")
}

// SlipwayDebugRootfs is like SlipwayRootfs, with a shell and its commands in /busybox.
func SlipwayDebugRootfs(t testing.TB) string {
	t.Helper()
	return slipwayRootfs(t, "debug")
}

// SlipwayEnv is the environment of these images; a test compares it with the Dockerfile.
func SlipwayEnv() []string {
	return []string{"PATH=/usr/local/bin:/kaniko:/busybox", "HOME=/tmp", "SSL_CERT_DIR=/kaniko/ssl/certs"}
}

// Binary gives the path of the program that is in the images, compiled if need be. A
// TestMain sets testbin.Env to it, so that not every test asks the Go tool whether the program is still
// good. Another version gets another path, so that tests of two checkouts can run at once.
func Binary(ctx context.Context) (string, error) {
	rootfs, err := Rootfs(ctx, "slipway")
	return filepath.Join(rootfs, "usr/local/bin/slipway"), err
}

// Slipway describes a pod that runs slipway in its image.
func Slipway(t testing.TB, shape Shape, args ...string) Spec {
	t.Helper()
	Require(t)
	return Spec{Shape: shape, Rootfs: SlipwayRootfs(t), Env: SlipwayEnv(), Args: append([]string{"slipway"}, args...)}
}

func slipwayRootfs(t testing.TB, target string) string {
	t.Helper()
	rootfs, err := Rootfs(t.Context(), target)
	if err != nil {
		t.Fatalf("pod: %v", err)
	}
	return rootfs
}

// Rootfs is SlipwayRootfs, if target is "slipway", or SlipwayDebugRootfs, if it is "debug", for a TestMain.
func Rootfs(ctx context.Context, target string) (string, error) {
	cache, err := openImageCache()
	if err != nil {
		return "", err
	}
	defer cache.close()
	rootfs, err := cache.rootfs(ctx, target)
	if err != nil {
		return "", fmt.Errorf("making the image of slipway: %w", err)
	}
	return rootfs, nil
}

// imageCache is a directory with root filesystems, used by one process at a time.
type imageCache struct {
	dir  string
	lock *os.File
}

func openImageCache() (*imageCache, error) {
	parent, err := os.UserCacheDir()
	if err != nil {
		// There is no home directory.
		parent = os.TempDir()
	}
	c := &imageCache{dir: filepath.Join(parent, "slipway-test-pod")}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	c.lock, err = os.Create(filepath.Join(c.dir, "lock"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(c.lock.Fd()), unix.LOCK_EX); err != nil {
		c.close()
		return nil, fmt.Errorf("locking %s: %w", c.dir, err)
	}
	return c, nil
}

// close ends the lock.
func (c *imageCache) close() { c.lock.Close() }

// rootfs gives the root filesystem of a target of the Dockerfile, made now if need be.
func (c *imageCache) rootfs(ctx context.Context, target string) (string, error) {
	// Always at the same place, where the Go tool sees whether it is still good.
	binary, err := testbin.Build(ctx, c.dir)
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	dockerfile, err := testbin.Dockerfile(ctx)
	if err != nil {
		return "", err
	}
	version := sha256.Sum256(append(program, dockerfile...))
	place := filepath.Join(c.dir, target+"-"+hex.EncodeToString(version[:8]))
	if err := c.prune(target + "-*"); err != nil {
		return "", err
	}
	rootfs := filepath.Join(place, "rootfs")
	_, err = os.Stat(rootfs)
	switch {
	case err == nil:
		now := time.Now()
		return rootfs, os.Chtimes(place, now, now)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	scratch, err := os.MkdirTemp(c.dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	if err := makeContext(ctx, scratch, dockerfile, program[:len(program):len(program)]); err != nil {
		return "", err
	}
	if err := buildImage(ctx, binary, scratch, target); err != nil {
		return "", err
	}
	if err := os.Mkdir(place, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return rootfs, os.Rename(filepath.Join(scratch, "out"), rootfs)
}

// prune removes what has not been used for long.
func (c *imageCache) prune(pattern string) error {
	places, err := filepath.Glob(filepath.Join(c.dir, pattern))
	if err != nil {
		return err
	}
	for _, place := range places {
		info, err := os.Stat(place)
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) < keepImages {
			continue
		}
		if err := os.RemoveAll(place); err != nil {
			return err
		}
	}
	return nil
}

// The directories that stand in for what the Dockerfile takes from elsewhere.
const (
	toolchainDir = "toolchain" // the image of Go, of which only shell and certificates are used
	buildDir     = "build"     // the stage that compiles
	busyboxDir   = "busybox"   // the image of busybox
)

// makeContext writes the Dockerfile, and what stands in for its base images and for the stage that compiles.
func makeContext(ctx context.Context, dir string, dockerfile, slipway []byte) error {
	program, err := testbase.Find(ctx)
	if err != nil {
		return err
	}
	certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{
		{"Dockerfile", dockerfile, 0o644},
		{buildDir + "/out/slipway", slipway, 0o755},
		{toolchainDir + "/etc/ssl/certs/ca-certificates.crt", certificates, 0o644},
		{toolchainDir + "/bin/" + program.Name, program.Data, 0o755},
		{busyboxDir + "/bin/" + program.Name, program.Data, 0o755},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.content, f.mode); err != nil {
			return err
		}
	}
	for _, command := range program.Commands {
		if command == program.Name {
			continue
		}
		for _, place := range []string{toolchainDir, busyboxDir} {
			if err := os.Symlink(program.Name, filepath.Join(dir, place, "bin", command)); err != nil {
				return err
			}
		}
	}
	return nil
}

// buildImage runs slipway on the Dockerfile in dir, and leaves the files of the image in dir/out.
func buildImage(ctx context.Context, slipway, dir, target string) error {
	cmd := exec.CommandContext(ctx, slipway, "build", "--target="+target, "--no-push", "--progress=plain",
		"--build-arg=GO_IMAGE=local-"+toolchainDir, "--build-context=local-"+toolchainDir+"="+filepath.Join(dir, toolchainDir),
		"--build-arg=BUSYBOX_IMAGE=local-"+busyboxDir, "--build-context=local-"+busyboxDir+"="+filepath.Join(dir, busyboxDir),
		"--build-context="+buildDir+"="+filepath.Join(dir, buildDir),
		"--output=type=local,dest="+filepath.Join(dir, "out"), "--state-dir="+filepath.Join(dir, "state"), dir)
	cmd.Env = []string{}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("slipway build: %w\n%s", err, log.Bytes())
	}
	return nil
}
