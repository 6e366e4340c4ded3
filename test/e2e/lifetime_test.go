package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Builds that share a state directory, new to all of them, neither disturb nor wait for each other
// beyond what they share.
func TestStateDirectoryIsShared(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	state := filepath.Join(t.TempDir(), "state")
	var wg sync.WaitGroup
	digests := make([]string, 4)
	for i := range digests {
		wg.Go(func() {
			dir := t.TempDir()
			context := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY x /x\nRUN cat /x > /y\n", "x": "x"})
			got := slipway(t, dir, "build", "--build-arg", "BASE="+base, "--insecure-registry", host,
				"--state-dir", state, "--source-date-epoch", "1700000000", "--no-push", "-q", context)
			if got.code != 0 {
				t.Errorf("build %d: exit code %d\n%s", i, got.code, got.stderr)
			}
			digests[i] = got.stdout
		})
	}
	wg.Wait()
	for _, d := range digests {
		if d != digests[0] {
			t.Errorf("the builds made different images: %q", digests)
		}
	}
	if left, err := filepath.Glob(filepath.Join(state, "builds", "*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files were left: %v, %v", left, err)
	}
}

// SIGTERM ends a build with exit code 143 wherever it is, and leaves no output, no result and no
// process.
func TestTermination(t *testing.T) {
	reached := make(chan struct{}, 100)
	stuck := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch || r.Method == http.MethodPut {
			reached <- struct{}{}
			<-r.Context().Done()
			return
		}
		stuck.ServeHTTP(w, r)
	}))
	t.Cleanup(server.CloseClientConnections)
	host, base := registryWithBase(t)
	for name, c := range map[string]struct {
		dockerfile, tag string
		root            bool
		reached         func(t *testing.T, stderr func() string)
	}{
		"during RUN": {
			"ARG BASE\nFROM ${BASE}\nRUN echo now waiting; sleep 321\n", host + "/team/app:1", true,
			func(t *testing.T, stderr func() string) {
				for !strings.Contains(stderr(), " now waiting\n") {
					time.Sleep(10 * time.Millisecond)
				}
			},
		},
		"during the push": {
			"FROM scratch\nCOPY x /\n", strings.TrimPrefix(server.URL, "http://") + "/team/app:1", false,
			func(*testing.T, func() string) { <-reached },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root {
				needRoot(t)
			}
			context := write(t, map[string]string{"Dockerfile": c.dockerfile, "x": "x"})
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), shared.binary, "build", "-t", c.tag, "--build-arg", "BASE="+base, "--insecure-registry", host,
				"--oci-layout-path", "layout", "--tar-path", "image.tar", "--results-dir", "results", "--digest-file", "digest",
				"--progress", "plain", "--state-dir", filepath.Join(t.TempDir(), "state"), context)
			cmd.Dir = dir
			var errs lockedBuffer
			cmd.Stderr = &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			c.reached(t, errs.String)
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the exit code is looked at below
			if code := cmd.ProcessState.ExitCode(); code != 143 {
				t.Errorf("exit code %d, want 143\n%s", code, errs.String())
			}
			checkFailureResults(t, filepath.Join(dir, "results"), "Interrupted", "signal")
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if out, err := exec.CommandContext(t.Context(), "pgrep", "-f", "^sleep 321$").Output(); err == nil {
				t.Errorf("the process of RUN still runs: %s", out)
			}
		})
	}
}
