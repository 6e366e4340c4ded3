// Package e2e runs the slipway binary as its users do, and reads what it made with tools that
// are not ours.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
)

// suite is what all tests share; it does not change after TestMain.
type suite struct {
	binary string            // path of slipway
	base   *testbase.Program // what base images are made of
	state  string            // a state directory, so that base images are unpacked once
}

var shared suite

func TestMain(m *testing.M) {
	os.Exit(runSuite(m))
}

func runSuite(m *testing.M) int {
	dir, err := os.MkdirTemp("", "slipway-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	shared.state = filepath.Join(dir, "state")
	if shared.binary, err = testbin.Build(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if shared.base, err = testbase.Find(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
