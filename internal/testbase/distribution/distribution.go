// Package distribution starts Debian's docker-registry for tests: the registry that most others are made from. Unlike
// that of the package testbase, it keeps blobs apart by repository.
package distribution

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Registry is a registry that runs until the end of its test.
type Registry struct {
	// Host is its host and port, Storage the directory in which it keeps everything.
	Host, Storage string

	log buffer
}

// Log is what it wrote so far; every request is a line.
func (r *Registry) Log() string { return r.log.String() }

// Serve starts a registry from which nothing can be deleted. Where docker-registry is not installed, the
// test is skipped, or fails if SLIPWAY_REQUIRE_TOOLS is set.
func Serve(t testing.TB) *Registry {
	t.Helper()
	return serve(t, false, "")
}

// ServeDeletable is Serve of a registry that lets its clients delete.
func ServeDeletable(t testing.TB) *Registry {
	t.Helper()
	return serve(t, true, "")
}

// ServeTo is ServeDeletable of a registry for one user, who logs in with a password.
func ServeTo(t testing.TB, user, password string) *Registry {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600); err != nil {
		t.Fatal(err)
	}
	return serve(t, true, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file))
}

// ServeMirror is Serve of a registry that has what another one at a host has, and fetches it from there when it is asked for.
func ServeMirror(t testing.TB, of string) *Registry {
	t.Helper()
	return serve(t, false, fmt.Sprintf("proxy: {remoteurl: %q}\n", "http://"+of))
}

// serve starts a registry with further, a part of its configuration.
func serve(t testing.TB, deletes bool, further string) *Registry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil && os.Getenv("SLIPWAY_REQUIRE_TOOLS") != "" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip("docker-registry is not installed (Debian's package of that name)")
	}
	dir := t.TempDir()
	r := &Registry{Host: unusedAddress(t), Storage: filepath.Join(dir, "storage")}
	config := filepath.Join(dir, "config.yml")
	content := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: false}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: %t}}\nhttp: {addr: %q}\n%s", r.Storage, deletes, r.Host, further)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "serve", config)
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	r.await(t)
	return r
}

// await waits until the registry answers.
func (r *Registry) await(t testing.TB) {
	t.Helper()
	for range 400 {
		response, err := http.Get("http://" + r.Host + "/v2/")
		if err == nil {
			if err := response.Body.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer:\n%s", r.Log())
}

// unusedAddress is an address on loopback where nothing listens.
func unusedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// buffer is written by one goroutine and read by another.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
