// Package server runs the registry of the benchmarks: Debian's docker-registry, behind a relay on loopback that counts bytes.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Registry is a running registry.
type Registry struct {
	// Host is "127.0.0.1:PORT", of the relay.
	Host string

	behind           string
	cmd              *exec.Cmd
	log              *os.File
	listener         net.Listener
	received, sent   atomic.Int64
	open             atomic.Int64 // connections
	accepting, relay sync.WaitGroup
}

// Traffic is what a registry received and sent, in bytes of TCP's payload.
type Traffic struct{ Received, Sent int64 }

// Start starts a registry that keeps everything in dir.
func Start(ctx context.Context, dir string) (_ *Registry, err error) {
	r := &Registry{}
	if r.behind, err = unusedAddress(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	content := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "storage"), r.behind)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		return nil, err
	}
	if r.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	r.cmd = exec.CommandContext(ctx, "docker-registry", "serve", config)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		return nil, errors.Join(err, r.log.Close())
	}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.Host = r.listener.Addr().String()
	r.accepting.Go(r.accept)
	if err := r.await(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close ends the registry.
func (r *Registry) Close() error {
	var errs []error
	if r.listener != nil {
		errs = append(errs, r.listener.Close())
		r.accepting.Wait()
	}
	errs = append(errs, r.cmd.Process.Kill())
	_ = r.cmd.Wait() // it was killed
	r.relay.Wait()
	return errors.Join(append(errs, r.log.Close())...)
}

// Traffic is what there was so far. It waits for connections to end: only then all of their bytes are counted.
func (r *Registry) Traffic(ctx context.Context) (Traffic, error) {
	for end := time.Now().Add(patience); r.open.Load() > 0; {
		if time.Now().After(end) {
			return Traffic{}, fmt.Errorf("a connection to the registry is still there after %v", patience)
		}
		select {
		case <-ctx.Done():
			return Traffic{}, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return Traffic{Received: r.received.Load(), Sent: r.sent.Load()}, nil
}

// patience is how long connections may take to end when their builder has.
const patience = 10 * time.Second

// Since is what there was after an earlier Traffic.
func (t Traffic) Since(earlier Traffic) Traffic {
	return Traffic{Received: t.Received - earlier.Received, Sent: t.Sent - earlier.Sent}
}

func (r *Registry) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.open.Add(1)
		r.relay.Go(func() {
			defer r.open.Add(-1)
			r.connect(client.(*net.TCPConn))
		})
	}
}

// connect passes on what a client and the registry tell each other. Errors are those of a connection, which either side
// sees as its end.
func (r *Registry) connect(client *net.TCPConn) {
	defer func() { _ = client.Close() }()
	c, err := net.Dial("tcp", r.behind)
	if err != nil {
		return
	}
	behind := c.(*net.TCPConn)
	defer func() { _ = behind.Close() }()
	var w sync.WaitGroup
	w.Go(func() { pass(behind, client, &r.received) })
	pass(client, behind, &r.sent)
	w.Wait()
}

// chunk is after how many bytes the counter is brought up to date. The kernel moves them without copying.
const chunk = 1 << 20

func pass(to, from *net.TCPConn, count *atomic.Int64) {
	for {
		n, err := io.CopyN(to, from, chunk)
		count.Add(n)
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

// await waits until the registry answers.
func (r *Registry) await(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 400 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Host+"/v2/", http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		time.Sleep(25 * time.Millisecond)
	}
	return fmt.Errorf("docker-registry does not answer: see %s", r.log.Name())
}

// unusedAddress is an address on loopback where nothing listens.
func unusedAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
