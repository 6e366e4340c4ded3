package argo

import (
	"archive/tar"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase"
)

// serveRegistry starts a registry that has an image with a shell as base:1; it gives its host and port.
func serveRegistry(t *testing.T) string {
	t.Helper()
	r, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	pushBase(t, r.Host)
	return r.Host
}

// pushBase gives a registry an image with a shell as base:1.
func pushBase(t *testing.T, host string) {
	t.Helper()
	program, err := testbase.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := program.Image()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host+"/base:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// The login that servePrivate wants.
const (
	user     = "ci"
	password = "open sesame"
)

// servePrivate starts an empty registry that wants a login; it gives its host and port.
func servePrivate(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(testbase.WithLogin(user, password, registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// serveTLS starts an empty registry whose certificate nobody knows; it gives its host and port, and the
// certificate.
func serveTLS(t *testing.T) (host, certificate string) {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	server := httptest.NewUnstartedServer(registry.New(registry.Logger(quiet)))
	server.Config.ErrorLog = quiet // of handshakes that fail
	server.StartTLS()
	t.Cleanup(server.Close)
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	return strings.TrimPrefix(server.URL, "https://"), string(pem.EncodeToMemory(block))
}

// dockerConfig is a login for a registry in Docker's format.
func dockerConfig(host string) string {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, auth)
}

// noRegistry is a host and port where nothing listens.
func noRegistry(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// descriptorOf asks a registry what a reference is.
func descriptorOf(t *testing.T, reference string) *remote.Descriptor {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(ref, remote.WithContext(t.Context()), remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func imageOf(t *testing.T, reference string) v1.Image {
	t.Helper()
	image, err := descriptorOf(t, reference).Image()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// filesOf are the regular files in the layers of an image, by name.
func filesOf(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, l := range layers {
		if err := testbase.EachEntry(l, func(h *tar.Header, content []byte) {
			if h.Typeflag == tar.TypeReg {
				files[h.Name] = string(content)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
