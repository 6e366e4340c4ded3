// Package entrypoint makes the image with Tekton's entrypoint: the program that Tekton puts between the kubelet and the
// command of a step, compiled from its module.
package entrypoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// User is the user of Tekton's images.
const User = 65532

// keep is for how long a root filesystem that is no longer used is kept.
const keep = 24 * time.Hour

// Rootfs gives the root filesystem of the image, made once for each version of the program, in the user's cache
// directory; it must not be written to. The Go tool is used in the working directory, which must be in this module.
func Rootfs(ctx context.Context) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", dir, err)
	}
	// Always at the same place, where the Go tool sees whether it is still good.
	binary := filepath.Join(dir, "entrypoint")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", binary, "github.com/tektoncd/pipeline/cmd/entrypoint")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling Tekton's entrypoint: %w\n%s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	if err := prune(dir); err != nil {
		return "", err
	}
	version := sha256.Sum256(program)
	place := filepath.Join(dir, "image-"+hex.EncodeToString(version[:8]))
	_, err = os.Stat(place)
	switch {
	case err == nil:
		now := time.Now()
		return place, os.Chtimes(place, now, now)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return place, write(dir, place, program)
}

func cacheDir() (string, error) {
	parent, err := os.UserCacheDir()
	if err != nil {
		// There is no home directory.
		parent = os.TempDir()
	}
	dir := filepath.Join(parent, "slipway-test-tekton")
	return dir, os.MkdirAll(dir, 0o755)
}

// prune removes what has not been used for long.
func prune(dir string) error {
	places, err := filepath.Glob(filepath.Join(dir, "image-*"))
	if err != nil {
		return err
	}
	for _, place := range places {
		info, err := os.Stat(place)
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) < keep {
			continue
		}
		if err := os.RemoveAll(place); err != nil {
			return err
		}
	}
	return nil
}

// write makes the root filesystem at place.
func write(dir, place string, program []byte) error {
	scratch, err := os.MkdirTemp(dir, "scratch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	err = errors.Join(
		os.Chmod(scratch, 0o755),
		os.Mkdir(filepath.Join(scratch, "ko-app"), 0o755),
		os.Mkdir(filepath.Join(scratch, "etc"), 0o755),
		os.WriteFile(filepath.Join(scratch, "ko-app", "entrypoint"), program, 0o755),
		os.WriteFile(filepath.Join(scratch, "etc", "passwd"), fmt.Appendf(nil, "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%[1]d:nonroot:/home/nonroot:/sbin/nologin\n", User), 0o644),
	)
	if err != nil {
		return err
	}
	return os.Rename(scratch, place)
}
