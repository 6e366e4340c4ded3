// Package testbin gives tests the slipway binary, so that they can run it as its users do.
package testbin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Env names the environment variable by which a binary that exists already can be given.
const Env = "SLIPWAY_BINARY"

// Build gives the path of a binary: the one that Env names, else one compiled now into dir.
func Build(ctx context.Context, dir string) (string, error) {
	if path := os.Getenv(Env); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "slipway")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/slipway-build/slipway/cmd/slipway")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling slipway: %w\n%s", err, out)
	}
	return path, nil
}
