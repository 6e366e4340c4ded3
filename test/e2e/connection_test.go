package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// far is a registry's name that leads nowhere but through a proxy.
const far = "registry.invalid"

// authority is a private CA, with its certificate as a file.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca")
	return a
}

// file is the path of what issue wrote.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate for a name, and writes it as NAME.crt and NAME.key; the first one is the CA's own.
func (a *authority) issue(name string, addresses ...net.IP) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: addresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
		a.key = key
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+ext), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured puts TLS before Debian's docker-registry, with a certificate of the CA's, and gives its address. With clients, it wants a
// certificate of the CA's, too.
func (a *authority) secured(clients bool) string {
	a.t.Helper()
	r := distribution.Serve(a.t)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.Host})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "https")
		proxy.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(far, net.IPv4(127, 0, 0, 1))}}
	if clients {
		s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(a.cert)
	}
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// pushScratch builds something small and pushes it.
func pushScratch(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return slipwayIn(t, dir, env, append([]string{"build", "."}, args...)...)
}

// Every way to make a registry of a private CA trusted, and to be trusted by one.
func TestTLSOptions(t *testing.T) {
	a := newAuthority(t)
	a.issue("client")
	plain, mutual := a.secured(false), a.secured(true)
	ca, client := a.file("ca.crt"), a.file("client.crt")+","+a.file("client.key")
	certificates := t.TempDir()
	if err := os.Link(ca, filepath.Join(certificates, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		host      string
		env, args []string
		fails     string
	}{
		"an unknown CA":                     {host: plain, fails: "--registry-certificate"},
		"a certificate for the registry":    {host: plain, args: []string{"--registry-certificate", plain + "=" + ca}},
		"a certificate for another one":     {host: plain, args: []string{"--registry-certificate", mutual + "=" + ca}, fails: "--registry-certificate"},
		"a directory":                       {host: plain, args: []string{"--registry-certificates-dir", certificates}},
		"SSL_CERT_FILE":                     {host: plain, env: []string{"SSL_CERT_FILE=" + ca}},
		"SSL_CERT_DIR":                      {host: plain, env: []string{"SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=" + certificates}},
		"not verified":                      {host: plain, args: []string{"--skip-tls-verify-registry", plain}},
		"HTTP/2 turned off":                 {host: plain, env: []string{"SSL_CERT_FILE=" + ca, "GODEBUG=http2client=0"}},
		"no client certificate":             {host: mutual, env: []string{"SSL_CERT_FILE=" + ca}, fails: "certificate required"},
		"a client certificate":              {host: mutual, env: []string{"SSL_CERT_FILE=" + ca}, args: []string{"--registry-client-cert", mutual + "=" + client}},
		"a client certificate for another":  {host: mutual, env: []string{"SSL_CERT_FILE=" + ca}, args: []string{"--registry-client-cert", plain + "=" + client}, fails: "certificate required"},
		"a client certificate that is none": {host: mutual, env: []string{"SSL_CERT_FILE=" + ca}, args: []string{"--registry-client-cert", mutual + "=/nowhere,/nowhere"}, fails: "reading the client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			o := pushScratch(t, test.env, append([]string{"-t", test.host + "/app:1"}, test.args...)...)
			if ok := o.code == 0; ok != (test.fails == "") || !strings.Contains(o.stderr, test.fails) {
				t.Errorf("exit code %d, want %q in:\n%s", o.code, test.fails, o.stderr)
			}
		})
	}
}

// A registry that can be reached only through a proxy, of any kind that Go's programs know.
func TestProxies(t *testing.T) {
	a := newAuthority(t)
	to := a.secured(false)
	for name, serve := range map[string]func(net.Conn) error{"http": connect, "socks5": socks} {
		t.Run(name, func(t *testing.T) {
			proxy, used := serveProxy(t, to, serve)
			env := []string{"SSL_CERT_FILE=" + a.file("ca.crt"), "HTTPS_PROXY=" + name + "://user:hidden@" + proxy}
			if o := pushScratch(t, env, "-t", far+"/app:1"); o.code != 0 || used.Load() == 0 {
				t.Errorf("exit code %d, %d connections through the proxy\n%s", o.code, used.Load(), o.stderr)
			}
			if o := pushScratch(t, append(env, "NO_PROXY="+far), "-t", far+"/app:1", "--push-retry=0"); o.code == 0 || strings.Contains(o.stderr, "hidden") {
				t.Errorf("with NO_PROXY: exit code %d\n%s", o.code, o.stderr)
			}
		})
	}
}

// serveProxy starts a proxy that leads everything that is meant for far to an address, and counts its connections.
func serveProxy(t *testing.T, to string, handshake func(net.Conn) error) (string, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it is how the loop ends
	used := &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if err := handshake(c); err != nil {
					return // the client sees that
				}
				used.Add(1)
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c) }()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
	return l.Addr().String(), used
}

// connect is a proxy's part in HTTP's CONNECT, with a user and password.
func connect(c net.Conn) error {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	if r.Method != http.MethodConnect || r.Host != far+":443" || r.Header.Get("Proxy-Authorization") == "" {
		return errors.New("not what is expected")
	}
	_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	return err
}

// socks is a proxy's part in SOCKS5 (RFC 1928) with a user and password (RFC 1929).
func socks(c net.Conn) error {
	greeting := make([]byte, 2)
	if _, err := io.ReadFull(c, greeting); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, c, int64(greeting[1])); err != nil {
		return err
	}
	if _, err := c.Write([]byte{5, 2}); err != nil {
		return err
	}
	for range 2 { // user, password
		n := make([]byte, 1)
		if greeting[0] == 5 {
			if _, err := io.ReadFull(c, n); err != nil { // the version
				return err
			}
			greeting[0] = 0
		}
		if _, err := io.ReadFull(c, n); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, int64(n[0])); err != nil {
			return err
		}
	}
	if _, err := c.Write([]byte{1, 0}); err != nil {
		return err
	}
	request := make([]byte, 5)
	if _, err := io.ReadFull(c, request); err != nil {
		return err
	}
	host := make([]byte, int(request[4])+2)
	if _, err := io.ReadFull(c, host); err != nil {
		return err
	}
	if string(host[:len(host)-2]) != far || binary.BigEndian.Uint16(host[len(host)-2:]) != 443 {
		return errors.New("not what is expected")
	}
	_, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return err
}
