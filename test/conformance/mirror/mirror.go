// Package mirror is docker.io for builds that must not depend on the internet: a proxy on loopback that
// answers in the name of Docker Hub, with images made on the spot, and refuses all other hosts but example.com,
// which is the place for images that BuildKit's tests only want to be stored.
package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Mirror is the proxy. Its users have Proxy as HTTPS_PROXY and Certificate as SSL_CERT_FILE.
type Mirror struct {
	proxy   *http.Server
	hub     *http.Server
	address string
	ca      string
	ended   chan error
}

// hosts are the names of Docker Hub, and that for images to store.
func hosts() []string {
	return []string{"docker.io", "index.docker.io", "registry-1.docker.io", "example.com"}
}

// Start starts a mirror with the images that BuildKit's tests are based on. It puts the certificate
// with which it proves to be Docker Hub into dir.
func Start(ctx context.Context, dir string) (*Mirror, error) {
	certificate, pem, err := certify(hosts())
	if err != nil {
		return nil, err
	}
	m := &Mirror{ca: filepath.Join(dir, "docker.io.crt"), ended: make(chan error, 2)}
	if err := os.WriteFile(m.ca, pem, 0o644); err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	store := registry.New(registry.Logger(quiet))
	server := httptest.NewServer(store)
	err = pushAll(ctx, server.Listener.Addr().String())
	server.Close()
	if err != nil {
		return nil, err
	}
	tunnels := &tunnels{conns: make(chan net.Conn), closed: make(chan struct{})}
	m.hub = &http.Server{
		Handler: store, ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m.address = listener.Addr().String()
	m.proxy = &http.Server{Handler: tunnels, ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second}
	go func() { m.ended <- m.hub.ServeTLS(tunnels, "", "") }()
	go func() { m.ended <- m.proxy.Serve(listener) }()
	return m, nil
}

// Proxy is the URL for HTTPS_PROXY.
func (m *Mirror) Proxy() string { return "http://" + m.address }

// Certificate is the path for SSL_CERT_FILE.
func (m *Mirror) Certificate() string { return m.ca }

// Close stops the mirror.
func (m *Mirror) Close() error {
	err := errors.Join(m.proxy.Close(), m.hub.Close())
	for range 2 {
		if ended := <-m.ended; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
	}
	return err
}

// tunnels is a proxy whose tunnels end at a listener, itself.
type tunnels struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (t *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || !slices.Contains(hosts(), host) {
		http.Error(w, fmt.Sprintf("tests have no internet, and so no %s", r.Host), http.StatusForbidden)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	select {
	case t.conns <- conn:
	case <-t.closed:
		conn.Close()
	}
}

// Accept gives the next tunnel.
func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

// Close lets Accept end.
func (t *tunnels) Close() error {
	close(t.closed)
	return nil
}

// Addr is no address that one could dial.
func (t *tunnels) Addr() net.Addr { return &net.TCPAddr{} }
