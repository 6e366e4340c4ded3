package pod

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // for the Dockerfile
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

//go:embed image/Dockerfile
var dockerfile []byte

// keepImages is for how long a root filesystem that is no longer used is kept.
const keepImages = 24 * time.Hour

// SlipwayRootfs gives the root filesystem of an image with slipway in /usr/local/bin, /etc/passwd,
// /tmp, an empty /slipway and nothing else. It is made by slipway, once for each version of the
// program, in the user's cache directory; it must not be written to.
func SlipwayRootfs(t testing.TB) string {
	t.Helper()
	return slipwayRootfs(t, "slipway")
}

// SlipwayDebugRootfs is like SlipwayRootfs, with a shell and its commands in /busybox.
func SlipwayDebugRootfs(t testing.TB) string {
	t.Helper()
	return slipwayRootfs(t, "debug")
}

// SlipwayEnv is the environment of these images.
func SlipwayEnv() []string { return []string{"PATH=/usr/local/bin:/busybox", "HOME=/tmp"} }

// Binary gives the path of the program that is in the images, compiled if need be. A
// TestMain sets testbin.Env to it, so that not every test asks the Go tool whether the program is still
// good.
func Binary(ctx context.Context) (string, error) {
	cache, err := openImageCache()
	if err != nil {
		return "", err
	}
	defer cache.close()
	return testbin.Build(ctx, cache.dir)
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
	if err := makeContext(ctx, scratch, program); err != nil {
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

// makeContext writes the build context of the Dockerfile.
func makeContext(ctx context.Context, dir string, slipway []byte) error {
	program, err := testbase.Find(ctx)
	if err != nil {
		return err
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{
		{"rootfs", 0o755}, {"rootfs/tmp", 0o777 | os.ModeSticky}, {"rootfs/slipway", 0o755}, {"rootfs/etc", 0o755}, {"busybox", 0o755},
	} {
		path := filepath.Join(dir, d.name)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Chmod(path, d.mode)); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{
		{"Dockerfile", dockerfile, 0o644},
		{"slipway", slipway, 0o755},
		{"rootfs/etc/passwd", []byte("root:x:0:0:root:/root:/busybox/sh\nslipway:x:1000:1000:slipway:/tmp:/busybox/sh\n"), 0o644},
		{"rootfs/etc/slipway-image", nil, 0o644},
		{"rootfs/etc/group", []byte("root:x:0:\nslipway:x:1000:\n"), 0o644},
		{"busybox/" + program.Name, program.Data, 0o755},
	} {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.content, f.mode); err != nil {
			return err
		}
	}
	for _, command := range program.Commands {
		if command == program.Name {
			continue
		}
		if err := os.Symlink(program.Name, filepath.Join(dir, "busybox", command)); err != nil {
			return err
		}
	}
	return nil
}

// buildImage runs slipway on the Dockerfile in dir, and leaves the files of the image in dir/out.
func buildImage(ctx context.Context, slipway, dir, target string) error {
	cmd := exec.CommandContext(ctx, slipway, "build", "--target="+target, "--no-push", "--progress=plain",
		"--output=type=local,dest="+filepath.Join(dir, "out"), "--state-dir="+filepath.Join(dir, "state"), dir)
	cmd.Env = []string{}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("slipway build: %w\n%s", err, log.Bytes())
	}
	return nil
}
