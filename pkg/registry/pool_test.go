package registry_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/registry"
)

// connections counts those that were opened to a server, the requests, and the protocols that were spoken.
type connections struct {
	mu               sync.Mutex
	opened, requests int
	protos           map[string]bool
}

// serveCounted starts a registry, by TLS with HTTP/2 or by plain HTTP.
func serveCounted(t *testing.T, withTLS bool) (*server, *connections) {
	t.Helper()
	c := &connections{protos: map[string]bool{}}
	s := newServer(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			c.protos[r.Proto] = true
			c.requests++
			c.mu.Unlock()
			h.ServeHTTP(w, r)
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				c.mu.Lock()
				c.opened++
				c.mu.Unlock()
			}
		}
		s.EnableHTTP2 = true
		if withTLS {
			s.StartTLS()
		} else {
			s.Start()
		}
		return s
	})
	return s, c
}

// A build's requests to a registry share their connections: with HTTP/2 one, else about as many as there are requests at a
// time. On a busy machine, a few more are opened by requests that wait for one and then get another's.
func TestConnectionsAreReused(t *testing.T) {
	for name, test := range map[string]struct {
		tls   bool
		debug string
		proto string
		each  int // requests for a connection, at least
	}{
		"HTTP/2":            {true, "", "HTTP/2.0", 50},
		"HTTP/2 turned off": {true, "http2client=0", "HTTP/1.1", 5},
		"HTTP/1.1 in plain": {false, "", "HTTP/1.1", 5},
	} {
		t.Run(name, func(t *testing.T) {
			if test.debug != "" {
				t.Setenv("GODEBUG", test.debug)
			}
			s, counted := serveCounted(t, test.tls)
			c := newClient(t, registry.Options{Hosts: map[string]registry.Host{s.host: {Access: registry.Access{SkipTLSVerify: true}}}})
			contents := make([]string, 60)
			for i := range contents {
				contents[i] = fmt.Sprint(i)
			}
			image := imageWith(t, amd64, contents...)
			to, err := c.Destinations([]string{s.host + "/a:1", s.host + "/b:1"})
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Push(t.Context(), image); err != nil {
				t.Fatal(err)
			}
			if err := to.Tag(t.Context(), image); err != nil {
				t.Fatal(err)
			}
			img, err := c.Resolve(t.Context(), s.host+"/a:1", amd64)
			if err != nil {
				t.Fatal(err)
			}
			g := errgroup.Group{}
			g.SetLimit(8)
			for _, l := range img.Layers {
				g.Go(func() error {
					rc, err := l.Compressed()
					if err != nil {
						return err
					}
					defer rc.Close()
					_, err = io.Copy(io.Discard, rc)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			counted.mu.Lock()
			defer counted.mu.Unlock()
			if counted.opened*test.each > counted.requests || !counted.protos[test.proto] || len(counted.protos) != 1 {
				t.Errorf("%d connections for %d requests, one for at least %d is wanted; protocols %v", counted.opened, counted.requests, test.each, counted.protos)
			}
		})
	}
}
