package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// hostTransports keeps one connection pool for each way of speaking TLS. Hosts with no
// settings of their own share one.
type hostTransports struct {
	hosts   map[string]Host
	caFiles []string // for all hosts

	mu    sync.Mutex
	pools map[tlsSettings]*http.Transport
}

type tlsSettings struct {
	skipVerify                bool
	caFile, certFile, keyFile string
}

func newHostTransports(hosts map[string]Host, caFiles []string) *hostTransports {
	return &hostTransports{hosts: hosts, caFiles: caFiles, pools: map[tlsSettings]*http.Transport{}}
}

// roundTripper sends each request through the pool of its host. With skipVerify no host's
// certificate is checked.
func (h *hostTransports) roundTripper(skipVerify bool) http.RoundTripper {
	return hostRoundTripper{h, skipVerify}
}

type hostRoundTripper struct {
	*hostTransports
	skipVerify bool
}

// RoundTrip implements http.RoundTripper.
func (h hostRoundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	host := h.hosts[req.URL.Host]
	t, err := h.pool(tlsSettings{
		skipVerify: h.skipVerify || host.SkipTLSVerify,
		caFile:     host.CAFile, certFile: host.CertFile, keyFile: host.KeyFile,
	})
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", req.URL.Host, err)
	}
	return t.RoundTrip(req)
}

func (h *hostTransports) pool(s tlsSettings) (*http.Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.pools[s]; ok {
		return t, nil
	}
	conf, err := s.config(h.caFiles)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   32,
	}
	h.pools[s] = t
	return t, nil
}

func (s tlsSettings) config(caFiles []string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.skipVerify} //nolint:gosec // the user asked for it by flag
	if s.caFile != "" {
		caFiles = append(slices.Clip(caFiles), s.caFile)
	}
	if len(caFiles) > 0 {
		var err error
		if conf.RootCAs, err = trusted(caFiles); err != nil {
			return nil, err
		}
	}
	if s.certFile != "" {
		cert, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

// trusted are the system's certificates and those in files.
func trusted(files []string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading its certificate: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", file)
		}
	}
	return pool, nil
}

// refuseInwardRedirect keeps a registry from sending us to services of this pod or node, such as a
// cloud's metadata service: a redirect to another host must not name a loopback or link-local
// address. Other private addresses are where registries inside a cluster keep their
// blobs. Addresses behind a DNS name are not looked at.
func refuseInwardRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	from, to := via[0].URL.Hostname(), req.URL.Hostname()
	if from == to {
		return nil
	}
	addr, err := netip.ParseAddr(to)
	if err == nil && (addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified()) {
		return fmt.Errorf("%s redirects to %s, an address of this machine: refused", from, to)
	}
	return nil
}

// verifyPut checks what a registry says it has stored against the manifest that was sent. One that it has not got as it was
// sent is sent again until it has, as often as other requests are repeated: until then its tag names something that nobody
// built. One that it says is malformed, which ours are not, is sent once more.
type verifyPut struct {
	inner    http.RoundTripper
	attempts int
}

// RoundTrip implements http.RoundTripper.
func (v verifyPut) RoundTrip(req *http.Request) (*http.Response, error) {
	if !isManifestPut(req) || req.GetBody == nil {
		return v.inner.RoundTrip(req)
	}
	for attempt := 1; ; attempt++ {
		resp, err := v.put(req)
		var damaged *digestError
		switch {
		case errors.As(err, &damaged) && attempt < max(2, v.attempts):
		case err == nil && resp.StatusCode == http.StatusBadRequest && attempt == 1:
			drain(resp)
		default:
			return resp, err
		}
		if req, err = rewind(req); err != nil {
			return nil, err
		}
	}
}

func (v verifyPut) put(req *http.Request) (*http.Response, error) {
	resp, err := v.inner.RoundTrip(req)
	if err != nil || resp.StatusCode/100 != 2 {
		return resp, err
	}
	answer := resp.Header.Get("Docker-Content-Digest")
	if answer == "" {
		return resp, nil // the push looks the digest up later
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	sent, _, err := v1.SHA256(body)
	if err == nil && answer != sent.String() {
		err = &digestError{what: "manifest that the registry stored", want: sent.String(), got: answer}
	}
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

func isManifestPut(req *http.Request) bool {
	return req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/")
}
