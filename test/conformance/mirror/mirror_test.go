package mirror

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The mirror answers for docker.io with whole images, and for nobody else.
func TestMirror(t *testing.T) {
	m, err := Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	proxy, err := url.Parse(m.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(m.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the certificate is none")
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	for _, image := range []string{"busybox", "busybox:stable-musl", "docker.io/library/alpine:latest"} {
		ref, err := name.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Image(ref, remote.WithTransport(transport), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(pulled); err != nil {
			t.Errorf("%s: %v", image, err)
		}
	}
	ref, err := name.ParseReference("quay.io/a/b")
	if err != nil {
		t.Fatal(err)
	}
	_, err = remote.Image(ref, remote.WithTransport(transport), remote.WithContext(t.Context()))
	if err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("another registry: %v, want it forbidden", err)
	}
}
