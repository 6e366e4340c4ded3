// Package testbin gives tests the slipway binary, so that they can run it as its users do.
package testbin

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Env names the environment variable by which a binary that exists already can be given.
const Env = "SLIPWAY_BINARY"

// Build gives the path of a binary: the one that Env names, else one compiled now into dir.
func Build(ctx context.Context, dir string) (string, error) {
	if path := os.Getenv(Env); path != "" {
		return filepath.Abs(path)
	}
	path, err := filepath.Abs(filepath.Join(dir, "slipway"))
	if err != nil {
		return "", err
	}
	module, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/slipway")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling slipway: %w\n%s", err, out)
	}
	return path, nil
}

// moduleDir is where slipway's module lies. In another module, whose requirements may be newer, the Go tool would compile
// a program that nobody ships.
func moduleDir(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/slipway-build/slipway")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("looking for slipway's module: %w\n%s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// Dockerfile gives that of slipway's own image.
func Dockerfile(ctx context.Context) ([]byte, error) {
	module, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(module, "Dockerfile"))
}
