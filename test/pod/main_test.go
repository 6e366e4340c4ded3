package pod_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
)

// suite is what all tests share; it does not change after TestMain.
type suite struct {
	probe string // a directory with the program probe
	base  string // an OCI layout with an image that has a shell
}

var shared suite

func TestMain(m *testing.M) {
	os.Exit(runSuite(m))
}

func runSuite(m *testing.M) int {
	dir, err := os.MkdirTemp("", "slipway-podtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared.probe, shared.base = filepath.Join(dir, "probe"), filepath.Join(dir, "base")
	ctx := context.Background()
	if err := errors.Join(buildProbe(ctx, shared.probe), writeBase(ctx, shared.base)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary, err := pod.Binary(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(testbin.Env, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// writeBase writes a base image that any user may read.
func writeBase(ctx context.Context, dir string) error {
	program, err := testbase.Find(ctx)
	if err != nil {
		return err
	}
	image, err := program.Image()
	if err != nil {
		return err
	}
	return writeLayout(dir, image)
}

// writeLayout writes an OCI layout that a builder of any uid reads.
func writeLayout(dir string, image v1.Image) error {
	if err := testbase.WriteLayout(dir, image); err != nil {
		return err
	}
	return testbase.Readable(dir)
}

// buildProbe compiles the program that looks around in containers.
func buildProbe(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "probe"),
		"github.com/slipway-build/slipway/test/pod/internal/probe/command")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling probe: %w\n%s", err, out)
	}
	return nil
}
