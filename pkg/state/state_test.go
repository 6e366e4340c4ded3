package state_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/state"
)

func open(t *testing.T, path string) *state.Dir {
	t.Helper()
	d, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFileIsMadeOnce(t *testing.T) {
	path := t.TempDir()
	// Two Dirs on one path stand for two processes: flock excludes open files.
	dirs := []*state.Dir{open(t, path), open(t, path)}
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			f, err := dirs[i%2].File(t.Context(), "blobs", "x", func(_ context.Context, f *os.File) error {
				made.Add(1)
				time.Sleep(10 * time.Millisecond)
				_, err := f.WriteString("content")
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if b, err := io.ReadAll(f); err != nil || string(b) != "content" {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times, want once", made.Load())
	}
	for _, d := range dirs {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFailedObjectIsNotKeptAndTriedAgain(t *testing.T) {
	d := open(t, t.TempDir())
	defer d.Close()
	boom := errors.New("boom")
	_, err := d.Tree(t.Context(), "unpacked", "x", func(_ context.Context, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v, want boom", err)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), "unpacked", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("half-made object was kept: %v", err)
	}
	p, err := d.Tree(t.Context(), "unpacked", "x", func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(p); err != nil || len(names) != 0 {
		t.Errorf("second try sees %v, %v", names, err)
	}
}

func TestNamesCannotLeaveTheDirectory(t *testing.T) {
	d := open(t, t.TempDir())
	defer d.Close()
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".hidden", "a\x00b"} {
		if _, err := d.Lookup("blobs", name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%q): %v, want a refusal", name, err)
		}
		if _, err := d.Lookup(name, "x"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%q, x): %v, want a refusal", name, err)
		}
	}
}

func TestLockWaitsAndGivesUpWithContext(t *testing.T) {
	d := open(t, t.TempDir())
	defer d.Close()
	unlock, err := d.Lock(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Lock(ctx, "a/b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v, want deadline exceeded", err)
	}
	unlock()
	again, err := d.Lock(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestCloseRemovesTemporariesButNotObjects(t *testing.T) {
	d := open(t, t.TempDir())
	f, err := d.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := d.TempFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Publish("blobs", "kept", kept); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), kept.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file survived: %v", err)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), "blobs", "kept")); err != nil {
		t.Error(err)
	}
}

// A build that is killed leaves its area behind; the next Open removes it, and does not
// touch the area of a build that lives.
func TestDeadBuildsAreRemoved(t *testing.T) {
	if path := os.Getenv("STATE_TEST_DIE_IN"); path != "" {
		d := open(t, path)
		if _, err := d.TempDir("left-"); err != nil {
			t.Fatal(err)
		}
		os.Exit(0) // without Close, as if killed
	}
	path := t.TempDir()
	alive := open(t, path)
	defer alive.Close()
	mine, err := alive.TempDir("mine-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDeadBuildsAreRemoved$")
	cmd.Env = append(os.Environ(), "STATE_TEST_DIE_IN="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(path, "builds", "b-*", "left-*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("the dead build left %v, %v", left, err)
	}
	next := open(t, path)
	defer next.Close()
	if _, err := os.Stat(left[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the dead build left is still there: %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("the living build lost its directory: %v", err)
	}
}

func TestSharedLock(t *testing.T) {
	d := open(t, t.TempDir())
	defer d.Close()
	take := func(try func(string) (func(), error), want bool) func() {
		t.Helper()
		unlock, err := try("x")
		if err != nil || (unlock != nil) != want {
			t.Fatalf("the lock was given: %v (%v), want %v", unlock != nil, err, want)
		}
		return unlock
	}
	one := take(d.TryLockShared, true)
	two := take(d.TryLockShared, true)
	take(d.TryLock, false)
	one()
	take(d.TryLock, false)
	two()
	alone := take(d.TryLock, true)
	take(d.TryLockShared, false)
	alone()
	take(d.TryLockShared, true)()
}
