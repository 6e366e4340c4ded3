package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/conformance/mirror"
	"github.com/slipway-build/slipway/test/conformance/shim/client"
	"github.com/slipway-build/slipway/test/conformance/shim/hub"
	"github.com/slipway-build/slipway/test/conformance/shim/integration"
	"github.com/slipway-build/slipway/test/pod"
)

// Where things are, relative to this directory, in which the command is to be run.
const (
	generated    = "generated"
	expectations = "expected.txt"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("run", "", "run only the tests whose names match this regular expression, as go test does")
	isolation := flag.String("isolation", "namespace", "the isolation backend; inplace and sandbox in containers shaped like pods")
	log := flag.String("log", "", "write what the tests print to this `FILE`")
	flag.Parse()

	expected, err := readExpectations(expectations, *isolation)
	if err != nil {
		return err
	}
	if err := generate(ctx, generated); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Whatever the tests make is below, so that it can be given to a container.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return err
	}
	env, cleanUp, err := prepare(ctx, dir, *isolation)
	if err != nil {
		return err
	}
	defer cleanUp()
	skips := expected.notApplicable()
	outcomes, printed, err := runTests(ctx, *only, append(env, integration.SkipEnv+"="+skips))
	if *log != "" {
		err = errors.Join(err, os.WriteFile(*log, []byte(printed.String()), 0o644))
	}
	if err != nil {
		return err
	}
	return report(os.Stdout, outcomes, printed, expected, *only == "")
}

// prepare compiles what the tests run into dir, starts the mirror, and gives the environment that tells of both.
func prepare(ctx context.Context, dir, isolation string) (env []string, cleanUp func(), err error) {
	binary, err := testbin.Build(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	for _, program := range []string{"buildctl", "llb"} {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, program), "./"+program).CombinedOutput()
		if err != nil {
			return nil, nil, fmt.Errorf("compiling %s: %w\n%s", program, err, out)
		}
	}
	rootfs := ""
	if client.Shaped(isolation) {
		if rootfs, err = pod.Rootfs(ctx, "slipway"); err != nil {
			return nil, nil, err
		}
	}
	m, err := mirror.Start(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	cleanUp = func() {
		if err := m.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "conformance: closing the mirror: %v\n", err)
		}
	}
	return []string{
		client.RootfsEnv + "=" + rootfs,
		client.BinaryEnv + "=" + binary,
		client.IsolationEnv + "=" + isolation,
		hub.ProxyEnv + "=" + m.Proxy(),
		hub.CertificateEnv + "=" + m.Certificate(),
		integration.BuildctlEnv + "=" + filepath.Join(dir, "buildctl"),
		client.LLBEnv + "=" + filepath.Join(dir, "llb"),
		"BUILDKIT_RUN_NETWORK_INTEGRATION_TESTS=1", // without it, they skip themselves
	}, cleanUp, nil
}

// runTests runs the generated tests and gives the outcome of each, and what all of them printed.
func runTests(ctx context.Context, only string, env []string) (map[string]outcome, transcript, error) {
	// Slashes would separate the names of subtests.
	args := []string{"test", "-json", "-count=1", "-timeout=60m", "-p=1", "-parallel=4", "-run", "^TestIntegration$/(" + only + ")"}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+generated+"/dockerfile", "./"+generated+"/client")...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	outcomes, printed, err := readOutcomes(stdout)
	waited := cmd.Wait() // an error whenever a test fails
	if err != nil {
		return nil, printed, err
	}
	if len(outcomes) == 0 {
		return nil, printed, fmt.Errorf("no test ran: %w\n%s%s", waited, stderr.String(), printed[""])
	}
	return outcomes, printed, ctx.Err()
}
