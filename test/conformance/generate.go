package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildkit is the module whose tests are run.
const buildkit = "github.com/moby/buildkit"

// shims are the packages that stand in for BuildKit's in the tests.
func shims() map[string]string {
	const shim = "github.com/slipway-build/slipway/test/conformance/shim/"
	return map[string]string{
		buildkit + "/client":                          shim + "client",
		buildkit + "/util/testutil/integration":       shim + "integration",
		buildkit + "/util/testutil/workers":           shim + "workers",
		buildkit + "/session/secrets/secretsprovider": shim + "secretsprovider",
		buildkit + "/session/sshforward/sshprovider":  shim + "sshprovider",
		"github.com/containerd/containerd/v2/client":  shim + "containerd",
		buildkit + "/session/upload/uploadprovider":   shim + "uploadprovider",
	}
}

// generate writes all tests into directories below dir, which it empties first.
func generate(ctx context.Context, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := generateDockerfile(ctx, filepath.Join(dir, "dockerfile")); err != nil {
		return err
	}
	return generateClient(ctx, filepath.Join(dir, "client"))
}

// generateDockerfile writes the tests of BuildKit's Dockerfile frontend into dir, which must not exist.
func generateDockerfile(ctx context.Context, dir string) error {
	source, err := moduleDir(ctx, buildkit)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(source, "frontend", "dockerfile", "*_test.go"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s has no tests of the Dockerfile frontend", source)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), withShims(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// withShims rewrites the imports of a Go file.
func withShims(source []byte) []byte {
	for from, to := range shims() {
		source = bytes.ReplaceAll(source, fmt.Appendf(nil, "%q\n", from), fmt.Appendf(nil, "%q\n", to))
	}
	return source
}

// moduleDir is where the module cache has a module, which it downloads if need be.
func moduleDir(ctx context.Context, module string) (string, error) {
	if out, err := exec.CommandContext(ctx, "go", "mod", "download", module).CombinedOutput(); err != nil {
		return "", fmt.Errorf("downloading %s: %w\n%s", module, err, out)
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}
