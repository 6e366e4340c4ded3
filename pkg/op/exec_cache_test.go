package op_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

func cacheAt(dest, id string, sharing op.CacheSharing) op.ExecMount {
	return op.ExecMount{Type: isolation.MountCache, Dest: dest, Input: -1, Output: -1, CacheID: id, Sharing: sharing}
}

// runWith runs a process with the mounts, and calls during while it has them. It gives the
// directories of the caches.
func runWith(ctx context.Context, env *op.Env, during func(), mounts ...op.ExecMount) ([]string, error) {
	b := &backend{during: func(*isolation.Process) {
		if during != nil {
			during()
		}
	}}
	e := *env
	e.Isolation = b
	x := op.Exec{Mounts: append([]op.ExecMount{root}, mounts...)}
	if _, err := x.Run(ctx, &e, []op.Input{input(nil, "scratch")}); err != nil {
		return nil, err
	}
	var dirs []string
	for _, m := range b.got.Mounts {
		dirs = append(dirs, m.HostDir)
	}
	return dirs, nil
}

// TestCacheSharing has one RUN use a cache while another one has it.
func TestCacheSharing(t *testing.T) {
	const same, other, waits = "the same directory", "another directory", "waits"
	modes := map[op.CacheSharing]string{op.CacheShared: "shared", op.CachePrivate: "private", op.CacheLocked: "locked"}
	for _, c := range []struct {
		first, second op.CacheSharing
		want          string
	}{
		{op.CacheShared, op.CacheShared, same},
		{op.CacheShared, op.CachePrivate, other},
		{op.CacheShared, op.CacheLocked, waits},
		{op.CachePrivate, op.CacheShared, other},
		{op.CachePrivate, op.CachePrivate, other},
		{op.CachePrivate, op.CacheLocked, waits},
		{op.CacheLocked, op.CacheShared, other},
		{op.CacheLocked, op.CachePrivate, other},
		{op.CacheLocked, op.CacheLocked, waits},
	} {
		t.Run(modes[c.first]+" then "+modes[c.second], func(t *testing.T) {
			env := environment(t, nil)
			var log bytes.Buffer
			env.Stderr = &log
			var second []string
			var secondErr error
			first, err := runWith(t.Context(), env, func() {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				second, secondErr = runWith(ctx, env, nil, cacheAt("/c", "id", c.second))
			}, cacheAt("/c", "id", c.first))
			if err != nil {
				t.Fatal(err)
			}
			if waited := errors.Is(secondErr, context.DeadlineExceeded); waited != (c.want == waits) {
				t.Fatalf("the second RUN ended with %v, want that it gets %s", secondErr, c.want)
			}
			if told := strings.Contains(log.String(), "waiting for cache mount /c"); told != (c.want == waits) {
				t.Errorf("the log is %q", log.String())
			}
			if c.want == waits {
				second, secondErr = runWith(t.Context(), env, nil, cacheAt("/c", "id", c.second))
			}
			if secondErr != nil {
				t.Fatal(secondErr)
			}
			if (first[0] == second[0]) == (c.want == other) {
				t.Errorf("the directories are %s and %s, want %s", first[0], second[0], c.want)
			}
			// Whoever comes later finds what was there first.
			third, err := runWith(t.Context(), env, nil, cacheAt("/c", "id", c.second))
			if err != nil {
				t.Fatal(err)
			}
			if third[0] != first[0] {
				t.Errorf("afterwards, the cache is %s, want %s", third[0], first[0])
			}
		})
	}
}

func TestCacheIDs(t *testing.T) {
	dirs, err := runWith(t.Context(), environment(t, nil), nil,
		cacheAt("/a", "ns1//go", op.CacheShared), cacheAt("/b", "ns1//go", op.CacheLocked), cacheAt("/c", "ns2//go", op.CacheLocked))
	if err != nil {
		t.Fatal(err)
	}
	if dirs[0] != dirs[1] {
		t.Errorf("one id gives %s and %s in one process", dirs[0], dirs[1])
	}
	if dirs[0] == dirs[2] {
		t.Error("two ids give one directory")
	}
}

// TestLockedCachesInTwoOrders would hang if each RUN waited for what the other one has.
func TestLockedCachesInTwoOrders(t *testing.T) {
	env := environment(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 2)
	for _, ids := range [][]string{{"a", "b"}, {"b", "a"}} {
		go func() {
			for range 100 {
				if _, err := runWith(ctx, env, nil, cacheAt("/1", ids[0], op.CacheLocked), cacheAt("/2", ids[1], op.CacheLocked)); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
	}
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Error(err)
	}
}

// TestFailureReleasesCaches lets a RUN fail after its cache was locked.
func TestFailureReleasesCaches(t *testing.T) {
	env := environment(t, nil)
	missing := op.ExecMount{Type: isolation.MountSecret, Dest: "/s", Input: -1, Output: -1, SecretID: "missing"}
	if _, err := runWith(t.Context(), env, nil, cacheAt("/c", "id", op.CacheLocked), missing); err == nil {
		t.Fatal("no error although the secret is missing")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := runWith(ctx, env, nil, cacheAt("/c", "id", op.CacheLocked)); err != nil {
		t.Error(err)
	}
}

func TestCacheFromAFileIsRefused(t *testing.T) {
	env := environment(t, &backend{})
	m := cacheAt("/c", "id", op.CacheShared)
	m.Input, m.Selector = 1, "/f"
	x := op.Exec{Mounts: []op.ExecMount{root, m}}
	_, err := x.Run(t.Context(), env, []op.Input{input(nil, "scratch"), input(rootfs(t, map[string]string{"f": "x"}), "start")})
	if err == nil || !strings.Contains(err.Error(), "cache mount /c") || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("error is %v", err)
	}
	if entries, err := os.ReadDir(env.State.Path() + "/cachemounts"); err != nil || len(entries) > 0 {
		t.Errorf("the state directory has %v (%v)", entries, err)
	}
}

// Without the cache, a build's first RUN finds an empty cache mount, and its others what that one left.
func TestFreshCaches(t *testing.T) {
	env := environment(t, nil)
	leave := func(name string) string {
		t.Helper()
		dirs, err := runWith(t.Context(), env, nil, cacheAt("/c", "id", op.CacheShared))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dirs[0], name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return dirs[0]
	}
	fresh := func(env *op.Env) (names []string) {
		t.Helper()
		b := &backend{during: func(p *isolation.Process) {
			entries, err := os.ReadDir(p.Mounts[0].HostDir)
			if err != nil {
				t.Error(err)
			}
			for _, e := range entries {
				names = append(names, e.Name())
			}
		}}
		e := *env
		e.Isolation = b
		x := op.Exec{Mounts: []op.ExecMount{root, cacheAt("/c", "id", op.CacheShared)}, FreshCaches: true}
		if _, err := x.Run(t.Context(), &e, []op.Input{input(nil, "scratch")}); err != nil {
			t.Fatal(err)
		}
		return names
	}
	leave("old")
	if got := fresh(env); len(got) != 1 {
		t.Errorf("a build without a record of emptied caches has %q, want what was there", got)
	}
	env.Fresh = &op.FreshCaches{}
	if got := fresh(env); len(got) > 0 {
		t.Errorf("the first RUN has %q", got)
	}
	leave("new")
	if got := fresh(env); !slices.Equal(got, []string{"new"}) {
		t.Errorf("the second RUN of the build has %q", got)
	}
	// Another build has it, which is no reason to wait or to take it away.
	var log bytes.Buffer
	env.Fresh, env.Stderr = &op.FreshCaches{}, &log
	if _, err := runWith(t.Context(), env, func() { fresh(env) }, cacheAt("/c", "id", op.CacheShared)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "is not emptied") {
		t.Errorf("the log has %q", log.String())
	}
}
