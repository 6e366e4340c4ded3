package inplace_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
	"github.com/slipway-build/slipway/test/pod"
)

// rootFiles takes a snapshot of the root directory without what is mounted in it.
func rootFiles(t *testing.T) pod.Snapshot {
	t.Helper()
	// Through a bind mount that is not recursive, nothing that is mounted in it shows.
	dir := volume + "/bare"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/", dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	s, err := pod.TakeSnapshot(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sameRoot(t *testing.T, before pod.Snapshot) {
	t.Helper()
	for _, change := range before.Diff(rootFiles(t)) {
		t.Errorf("the root is not as before: %v", change)
	}
}

// Processes that do their worst: the outcome, and that the root is as before.
func TestDamage(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	// A directory that was made at run time can be renamed even with a mount in it.
	if err := errors.Join(os.MkdirAll("/made/deep/mount", 0o755), unix.Mount("tmpfs", "/made/deep/mount", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	before := rootFiles(t)
	root := isolationtest.Rootfs(t)
	for _, test := range []struct {
		name, script string
		gone         []string // what is no longer in the image
		code         int
	}{
		{name: "removing /bin", script: "rm -rf /bin", gone: []string{"bin/sh"}},
		{name: "removing everything else", script: "rm -rf /home /root /tmp /etc/passwd", gone: []string{"home", "tmp", "etc/passwd"}},
		{name: "replacing /etc by a link, which has mounts in it", script: "mv /etc /etc2 && ln -s etc2 /etc", code: 1},
		{name: "replacing a directory by a link, which has a mount deep in it", script: "mv /made /moved && ln -s moved /made", code: 1},
		{name: "moving two of them", script: "mv /made/deep /deep && mv /made /moved && mkdir -p /made/deep && echo x >/made/deep/x", code: 1},
		{name: "killing all of its own", script: "kill -9 $$", code: 137},
		{name: "changing the pod's files", script: "echo x >/etc/hosts; echo y >>/etc/resolv.conf"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBackend(t)
			changes, err := b.Run(t.Context(), &isolation.Process{Root: root, Args: []string{"/bin/sh", "-c", test.script}, Env: []string{"PATH=/bin"}, Cwd: "/"})
			if test.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				checkGone(t, root.Push(changes.Root), test.gone)
			} else if err == nil {
				t.Error("Run succeeded")
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			sameRoot(t, before)
		})
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil || string(hosts) != "127.0.0.1\tlocalhost\n" {
		t.Errorf("the pod's /etc/hosts is %q (%v)", hosts, err)
	}
}

func checkGone(t *testing.T, root *tree.Tree, gone []string) {
	t.Helper()
	view, err := root.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range gone {
		if _, err := view.LookupNoFollow(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is in the image (%v)", p, err)
		}
	}
}

// A process can remove the store, and with it the pod's own files. That must not go unnoticed.
func TestRemovedStore(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := inplace.New(st, inplace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Run(t.Context(), &isolation.Process{
		Root: isolationtest.Rootfs(t), Args: []string{"/bin/sh", "-c", "rm -rf /.slipway/*"}, Env: []string{"PATH=/bin"}, Cwd: "/",
	})
	if err == nil || !strings.Contains(err.Error(), "could not be restored") {
		t.Errorf("error is %v", err)
	}
	if err := b.Close(); err == nil {
		t.Error("Close says that all is well")
	}
}

// victim, in the environment, makes TestKilledBuilder the one that is killed.
const victim = "SLIPWAY_TEST_VICTIM"

// A builder that is killed during a RUN leaves the tree in the root; the next one restores it.
func TestKilledBuilder(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	if os.Getenv(victim) != "" {
		b := newBackend(t)
		_, err := b.Run(t.Context(), &isolation.Process{
			Root: isolationtest.Rootfs(t), Args: []string{"/bin/sh", "-c", "rm -rf /home; echo x >/new; echo ready >&2; sleep 1000"},
			Env: []string{"PATH=/bin"}, Cwd: "/", Stderr: os.Stderr,
		})
		t.Fatalf("the process ended: %v", err)
	}
	before := rootFiles(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilledBuilder$")
	cmd.Env = append(os.Environ(), victim+"=1", throwaway+"="+inPod)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the process wrote %q (%v)", line, err)
	}
	if _, err := os.Lstat("/new"); err != nil {
		t.Errorf("the tree is not in the root: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	var notes []string
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := inplace.New(st, inplace.Options{Note: func(text string) { notes = append(notes, text) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "interrupted") {
		t.Errorf("notes are %q", notes)
	}
	if err := errors.Join(b.Close(), st.Close()); err != nil {
		t.Error(err)
	}
	sameRoot(t, before)
}

// A second builder is refused while the first has the root.
func TestSecondBuilder(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	newBackend(t)
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = inplace.New(st, inplace.Options{})
	var unsupported *isolation.UnsupportedError
	if !errors.As(err, &unsupported) {
		t.Errorf("error is %v, want an UnsupportedError", err)
	}
}

// A canceled process leaves the root as it was.
func TestCanceled(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	before := rootFiles(t)
	b := newBackend(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := b.Run(ctx, &isolation.Process{
		Root: isolationtest.Rootfs(t), Args: []string{"/bin/sh", "-c", "while :; do echo x >>/f; done"}, Env: []string{"PATH=/bin"}, Cwd: "/",
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	sameRoot(t, before)
}

// What is left by a backend that is to leave its trees is below the store alone, and the next one removes it.
func TestLeave(t *testing.T) {
	if !inThrowaway(t) {
		return
	}
	before := rootFiles(t)
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, leave := range []bool{true, false} {
		b, err := inplace.New(st, inplace.Options{Leave: leave})
		if err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir("/" + inplace.StoreName); err != nil || len(entries) != 1 { // the lock
			t.Errorf("a new backend finds %v, %v", entries, err)
		}
		_, err = b.Run(t.Context(), &isolation.Process{
			Root: isolationtest.Rootfs(t), Args: []string{"/bin/sh", "-c", "rm -rf /home; echo x >/new"}, Env: []string{"PATH=/bin"}, Cwd: "/",
		})
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
		if !leave {
			continue
		}
		for _, change := range pod.BesideTrees(before.Diff(rootFiles(t))) {
			t.Errorf("the root is not as before: %v", change)
		}
		if left, err := filepath.Glob("/" + inplace.StoreName + "/*/new"); err != nil || len(left) != 1 {
			t.Errorf("%q is left, %v", left, err)
		}
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	sameRoot(t, before)
}
