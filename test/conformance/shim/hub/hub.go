// Package hub is the way to package mirror for what runs in the tests' own process.
package hub

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"os"
)

// ProxyEnv and CertificateEnv become slipway's HTTPS_PROXY and SSL_CERT_FILE. They are not those of
// the tests, which must not see a proxy.
const (
	ProxyEnv       = "CONFORMANCE_PROXY"
	CertificateEnv = "CONFORMANCE_CERTIFICATE"
)

// Transport leads to the mirror, as the environment of slipway does. Loopback is reached directly.
func Transport() (*http.Transport, error) {
	proxy, err := url.Parse(os.Getenv(ProxyEnv))
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(os.Getenv(CertificateEnv))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the mirror has no certificate")
	}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme == "http" {
				return nil, nil
			}
			return proxy, nil
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}, nil
}
