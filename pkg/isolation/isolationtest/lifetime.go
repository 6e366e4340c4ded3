package isolationtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// lifetime checks how long processes live, and how long layers.
func (s *suite) lifetime(t *testing.T) {
	t.Run("daemons are killed", s.daemons)
	t.Run("canceling", s.canceling)
	t.Run("canceled before it starts", s.canceledBefore)
	t.Run("output comes while the process runs", s.streaming)
	t.Run("output is told apart", s.outputs)
	t.Run("a writer that fails", s.brokenWriter)
	t.Run("several at once", s.parallel)
	t.Run("layers stay readable and stack", s.chain)
	t.Run("the tree is not modified", s.unmodified)
}

// daemons leaves generations of processes behind, in sessions of their own, and one that ignores
// signals. All of them write to a file; after Run, nothing does any more.
func (s *suite) daemons(t *testing.T) {
	dir := t.TempDir()
	script := `
		helper fork gg &
		(trap '' TERM HUP INT; while :; do date +%N >>/cache/tick; usleep 1000; done) >/dev/null 2>&1 &
		setsid sh -c 'while :; do date +%N >>/cache/tick; usleep 1000; done' >/dev/null 2>&1 &
		until test -s /cache/tick; do usleep 1000; done`
	p, out := process(s.rootfs, "sh", "-c", script)
	p.Mounts = []isolation.Mount{{Type: isolation.MountCache, Target: "/cache", HostDir: dir}}
	start := time.Now()
	if _, err := s.backend.Run(t.Context(), p); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	before, err := os.ReadFile(filepath.Join(dir, "tick"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	after, err := os.ReadFile(filepath.Join(dir, "tick"))
	if err != nil {
		t.Fatal(err)
	}
	if len(before) == 0 || len(after) != len(before) {
		t.Errorf("the daemons wrote %d bytes before Run returned and %d after", len(before), len(after)-len(before))
	}
}

// counter counts what is written, and tells when the first of it comes.
type counter struct {
	written atomic.Int64
	once    sync.Once
	came    chan struct{}
}

func newCounter() *counter { return &counter{came: make(chan struct{})} }

func (w *counter) Write(p []byte) (int, error) {
	w.written.Add(int64(len(p)))
	w.once.Do(func() { close(w.came) })
	return len(p), nil
}

func (s *suite) canceling(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, _ := process(s.rootfs, "sh", "-c", "trap '' TERM INT; while :; do date +%N; usleep 1000; done")
	w := newCounter()
	p.Stdout = w
	go func() {
		select {
		case <-w.came:
		case <-time.After(time.Minute):
		}
		cancel()
	}()
	c, err := s.backend.Run(ctx, p)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	if c != nil {
		t.Error("a canceled process has changes")
	}
	before := w.written.Load()
	time.Sleep(50 * time.Millisecond)
	if after := w.written.Load(); before == 0 || after != before {
		t.Errorf("the process wrote %d bytes before Run returned, and %d after", before, after-before)
	}
}

func (s *suite) canceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	p, _ := process(s.rootfs, "sh", "-c", "echo >/cache/ran")
	p.Mounts = []isolation.Mount{{Type: isolation.MountCache, Target: "/cache", HostDir: dir}}
	if _, err := s.backend.Run(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("the process ran")
	}
}

func (s *suite) streaming(t *testing.T) {
	// The process waits for a line that comes only when its output was seen.
	p, _ := process(s.rootfs, "sh", "-c", "echo started; read line")
	w := newCounter()
	p.Stdout = w
	in, line := io.Pipe()
	p.Stdin = in
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		select {
		case <-w.came:
			_, _ = io.WriteString(line, "go\n")
		case <-ctx.Done():
		}
		_ = line.Close()
	}()
	if _, err := s.backend.Run(ctx, p); err != nil {
		t.Errorf("the output did not come: %v", err)
	}
}

func (s *suite) outputs(t *testing.T) {
	p, out := process(s.rootfs, "sh", "-c", "echo out; echo err >&2; head -c 1000000 /dev/zero")
	var stderr bytes.Buffer
	p.Stderr = &stderr
	if _, err := s.backend.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if stderr.String() != "err\n" || !strings.HasPrefix(out.String(), "out\n") || out.Len() != 1_000_004 {
		t.Errorf("standard error is %q, output %d bytes beginning %.10q", stderr.String(), out.Len(), out.String())
	}
	p.Stdout, p.Stderr = nil, nil
	if _, err := s.backend.Run(t.Context(), p); err != nil {
		t.Errorf("without writers: %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func (s *suite) brokenWriter(t *testing.T) {
	p, _ := process(s.rootfs, "echo", "x")
	p.Stdout = brokenWriter{}
	if _, err := s.backend.Run(t.Context(), p); !errors.Is(err, errBroken) {
		t.Errorf("error is %v, want the writer's", err)
	}
}

func (s *suite) parallel(t *testing.T) {
	// Unless the backend is serial, the processes wait for each other: for a line that comes when all of
	// them have written one.
	const n = 4
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var running, started sync.WaitGroup
	started.Add(n)
	for i := range n {
		running.Go(func() {
			p, _ := process(s.rootfs, "sh", "-ec", fmt.Sprintf("echo; read line; mkdir /mine; echo %d >/mine/f", i))
			w := newCounter()
			in, line := io.Pipe()
			p.Stdout, p.Stdin = w, in
			go func() {
				select {
				case <-w.came:
				case <-ctx.Done():
				}
				started.Done()
				if !s.limits.Serial {
					started.Wait()
				}
				_, _ = io.WriteString(line, "go\n")
				_ = line.Close()
			}()
			c, err := s.backend.Run(ctx, p)
			if err != nil {
				t.Errorf("%d: %v", i, err)
				return
			}
			if got := readAll(t, c.Root, "mine/f"); got != fmt.Sprintf("%d\n", i) {
				t.Errorf("%d: wrote %q", i, got)
			}
		})
	}
	running.Wait()
}

func (s *suite) chain(t *testing.T) {
	root := s.rootfs
	for i := range 5 {
		p, out := process(root, "sh", "-ec", fmt.Sprintf("mkdir -p /chain; echo %d >>/chain/log; echo %d >/chain/%d; rm -f /chain/%d", i, i, i, i-2))
		c, err := s.backend.Run(t.Context(), p)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		root = root.Push(c.Root)
	}
	p, out := process(root, "sh", "-c", "cat /chain/log; ls /chain")
	if _, err := s.backend.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if want := "0\n1\n2\n3\n4\n3\n4\nlog\n"; out.String() != want {
		t.Errorf("the last process sees %q, want %q", out, want)
	}
	if got := readAll(t, root.Parent().Parent().Top(), "chain/log"); got != "0\n1\n2\n" {
		t.Errorf("the layer of the third process has %q", got)
	}
	s.checkMerged(t, root)
}

func (s *suite) unmodified(t *testing.T) {
	root := s.rootfs.Push(Layer(t, Dir("data", 0o755), File("data/f", 0o644, "x")))
	for range 2 {
		p, out := process(root, "sh", "-ec", "cat /data/f; echo y >/data/f; rm -r /etc; echo >/new; test ! -e /new2; echo >/new2")
		p.Mounts = nil
		_, err := s.backend.Run(t.Context(), p)
		// The provided files in /etc cannot be removed.
		if err == nil || !strings.HasPrefix(out.String(), "x") {
			t.Errorf("error %v, output %q", err, out)
		}
	}
	s.checkMerged(t, root)
}
