package pod_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/test/pod"
)

// waiter calls a function when a text is written to it.
type waiter struct {
	text string
	call func()
}

func (w *waiter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.call()
	}
	return len(p), nil
}

// Execute tells what a container writes at once, and ends it with its context: with a signal first.
func TestExecute(t *testing.T) {
	pod.Require(t)
	spec := pod.Spec{
		Shape: pod.Default(), Rootfs: pod.SlipwayDebugRootfs(t), Env: pod.SlipwayEnv(),
		Args: []string{"/busybox/sh", "-c", "echo ready >&2; exit 3"},
	}
	result, err := pod.Execute(t.Context(), spec)
	if err != nil || result.ExitCode != 3 || result.Stderr != "ready\n" {
		t.Errorf("got %+v, %v", result, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	spec.Args[2] = "trap 'echo told >&2; exit 0' TERM; echo ready >&2; sleep 120 & wait"
	told := false
	spec.Stderr = io.MultiWriter(&waiter{"ready", cancel}, &waiter{"told", func() { told = true }})
	start := time.Now()
	if _, err := pod.Execute(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
	if !told || time.Since(start) > 30*time.Second {
		t.Errorf("it was told to end: %v; it took %v", told, time.Since(start))
	}
}
