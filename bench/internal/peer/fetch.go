// Package peer gets the builders that slipway is compared with: those that are Go modules from the module proxy, compiled
// once and kept in the user's cache directory.
package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Versions of the peers.
const (
	KanikoVersion   = "v1.24.0"
	BuildKitVersion = "v0.34.2"
)

// Kaniko gives the path of its executor.
func Kaniko(ctx context.Context) (string, error) {
	paths, err := fetch(ctx, "github.com/GoogleContainerTools/kaniko", KanikoVersion, map[string]string{"executor": "./cmd/executor"},
		"-X github.com/GoogleContainerTools/kaniko/pkg/version.version="+KanikoVersion)
	return paths["executor"], err
}

// BuildKit gives the paths of "buildkitd" and "buildctl".
func BuildKit(ctx context.Context) (map[string]string, error) {
	return fetch(ctx, "github.com/moby/buildkit", BuildKitVersion, map[string]string{"buildkitd": "./cmd/buildkitd", "buildctl": "./cmd/buildctl"},
		"-X github.com/moby/buildkit/version.Version="+BuildKitVersion)
}

// fetch compiles commands of a module, in its own directory: its replacements count there.
func fetch(ctx context.Context, module, version string, commands map[string]string, ldflags string) (map[string]string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "slipway-bench", filepath.Base(module)+"-"+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	paths := map[string]string{}
	source := ""
	for name, pkg := range commands {
		paths[name] = filepath.Join(dir, name)
		if _, err := os.Stat(paths[name]); err == nil {
			continue
		}
		if source == "" {
			if source, err = download(ctx, module, version); err != nil {
				return nil, err
			}
			defer os.RemoveAll(source)
		}
		fresh := paths[name] + ".new"
		cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags=-s -w "+ldflags, "-o", fresh, pkg)
		cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compiling %s of %s@%s: %w\n%s", name, module, version, err, out)
		}
		if err := os.Rename(fresh, paths[name]); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// download gives a copy of a module's source that can be written to.
func download(ctx context.Context, module, version string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	var info struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &info); err != nil || jsonErr != nil || info.Dir == "" {
		return "", fmt.Errorf("downloading %s@%s: %w %s", module, version, err, strings.TrimSpace(info.Error))
	}
	copied, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(copied, os.DirFS(info.Dir)); err != nil {
		return "", err
	}
	return copied, filepath.WalkDir(copied, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755) // the module cache is read-only
	})
}
