// Package mirror serves on loopback what steps of a build download, and keeps it, so that after the first build no other
// measures the network.
package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Mirror is a running server: http://Host/NAME/… is what is below the NAME's upstream.
type Mirror struct {
	Host string

	upstreams map[string]string
	dir       string
	server    *http.Server
	serving   sync.WaitGroup
	mu        sync.Mutex
	fetching  map[string]*sync.Mutex
}

// Start starts a server for upstreams, URLs by name, that keeps their files in dir.
func Start(dir string, upstreams map[string]string) (*Mirror, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &Mirror{Host: l.Addr().String(), upstreams: upstreams, dir: dir, fetching: map[string]*sync.Mutex{}}
	m.server = &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	m.serving.Go(func() { _ = m.server.Serve(l) }) // until Close
	return m, nil
}

// Close ends the server.
func (m *Mirror) Close() error {
	err := m.server.Close()
	m.serving.Wait()
	return err
}

// ServeHTTP implements http.Handler.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	upstream, ok := m.upstreams[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	path, err := m.fetch(r.Context(), strings.TrimSuffix(upstream, "/")+"/"+rest, r.Header.Get("Accept"))
	var status *statusError
	switch {
	case errors.As(err, &status):
		http.Error(w, status.Error(), int(*status))
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	m.serve(w, r, name, path)
}

// serve answers with a file. Documents of npm's registry name the upstream, in place of which the mirror has to be asked.
func (m *Mirror) serve(w http.ResponseWriter, r *http.Request, name, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if bytes.HasPrefix(data, []byte("{")) {
		data = bytes.ReplaceAll(data, []byte(strings.TrimSuffix(m.upstreams[name], "/")+"/"), []byte("http://"+m.Host+"/"+name+"/"))
		w.Header().Set("Content-Type", "application/json")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// statusError is an upstream's answer that is none.
type statusError int

func (s *statusError) Error() string { return "the upstream answers: " + http.StatusText(int(*s)) }

// fetch gives the file with what is at an address, downloaded now if it is the first time.
func (m *Mirror) fetch(ctx context.Context, address, accept string) (string, error) {
	path := filepath.Join(m.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(address+"\n"+accept))))
	turn := m.turn(path)
	turn.Lock()
	defer turn.Unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if _, err := url.Parse(address); err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s := statusError(response.StatusCode)
		return "", &s
	}
	return path, write(path, response.Body)
}

func (m *Mirror) turn(path string) *sync.Mutex {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fetching[path] == nil {
		m.fetching[path] = &sync.Mutex{}
	}
	return m.fetching[path]
}

func write(path string, from io.Reader) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
