package testbase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Distribution is docker-registry, which most registries descend from, on a loopback port of its own,
// without TLS. Unlike Registry it keeps blobs apart by repository and checks what manifests refer to.
type Distribution struct {
	// Host is "127.0.0.1:PORT".
	Host string

	stop func()
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

// ErrNoDistribution says that docker-registry is not installed.
var ErrNoDistribution = errors.New("docker-registry is not installed (Debian's package of that name)")

// ServeDistribution starts docker-registry, which keeps its files in dir, an empty directory; it
// runs until Close. With deletes, its clients may delete.
func ServeDistribution(ctx context.Context, dir string, deletes bool) (*Distribution, error) {
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, ErrNoDistribution
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting docker-registry: %w", err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("starting docker-registry: %w", err)
	}
	file := filepath.Join(dir, "config.yml")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: %t}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "storage"), deletes, host)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("starting docker-registry: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &Distribution{Host: host, stop: cancel, cmd: exec.CommandContext(ctx, bin, "serve", file), log: &bytes.Buffer{}}
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("starting docker-registry: %w", err)
	}
	for range 400 {
		resp, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			return d, resp.Body.Close()
		}
		time.Sleep(25 * time.Millisecond)
	}
	d.Close()
	return nil, fmt.Errorf("docker-registry does not answer:\n%s", d.log)
}

// Close stops the registry.
func (d *Distribution) Close() {
	d.stop()
	_ = d.cmd.Wait() // it was killed
}
