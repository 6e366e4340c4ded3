package tekton_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/slipway-build/slipway/test/tekton/taskrun"
)

// registryServer is a registry that is not as easy to talk to as that of the package testbase.
type registryServer struct {
	*httptest.Server

	host string
}

// certificate is that of a registry with TLS.
func (s *registryServer) certificate() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// serveRegistry starts a registry at an address of its own; wrap, if not nil, stands in front of it.
func serveRegistry(t *testing.T, address string, withTLS bool, wrap func(http.Handler) http.Handler) *registryServer {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	listener, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust the certificate
	if withTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return &registryServer{Server: server, host: listener.Addr().String()}
}

const (
	user     = "robot"
	password = "open sesame"
)

// withLogin lets nobody but user in.
func withLogin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, secret, _ := r.BasicAuth(); name != user || secret != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// auths is a Docker configuration that logs in to REGISTRY.
func auths() string {
	return `{"auths":{"REGISTRY":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + `"}}}`
}

// copied has a file and no base image.
func copied(params map[string]any, workspaces map[string]map[string]string) build {
	params["IMAGE"] = image
	return build{params: params, workspaces: workspaces, source: map[string]string{"Dockerfile": scratch, "file": "text\n"}}
}

// builds with registries that want something. The registry's certificate is in the text CERTIFICATE.
func tlsBuilds() map[string]build {
	const file = "CERTIFICATE"
	return map[string]build{
		"not verified": copied(map[string]any{"TLS_VERIFY": "false"}, nil),
		"certificates of a workspace": copied(map[string]any{}, map[string]map[string]string{
			"sslcertdir": {"ca.crt": file},
		}),
		"certificate by name": copied(map[string]any{"REGISTRY_CERTIFICATES": []string{"REGISTRY=of-one-registry"}}, map[string]map[string]string{
			"sslcertdir": {"of-one-registry": file},
		}),
	}
}

func loginBuilds() map[string]build {
	login := func(file string, content string) build {
		return copied(map[string]any{}, map[string]map[string]string{"dockerconfig": {file: content}})
	}
	return map[string]build{
		"config.json":       login("config.json", auths()),
		".dockerconfigjson": login(".dockerconfigjson", auths()),
		".dockercfg": login(".dockercfg",
			`{"REGISTRY":{"auth":"`+base64.StdEncoding.EncodeToString([]byte(user+":"+password))+`"}}`),
	}
}

func plainBuild() build {
	return copied(map[string]any{"INSECURE_REGISTRIES": []string{"REGISTRY"}}, nil)
}

// registryBuilds are the builds of the tests below, for the parameters that they set.
func registryBuilds() []build {
	all := []build{plainBuild()}
	for _, builds := range []map[string]build{tlsBuilds(), loginBuilds()} {
		for _, b := range builds {
			all = append(all, b)
		}
	}
	return all
}

func TestTLS(t *testing.T) {
	server := serveRegistry(t, "127.0.0.1", true, nil)
	trusting := remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
	for name, b := range tlsBuilds() {
		t.Run(name, func(t *testing.T) {
			for _, files := range b.workspaces {
				for name, content := range files {
					if content == "CERTIFICATE" {
						files[name] = server.certificate()
					}
				}
			}
			o := b.runAt(t, server.host)
			o.succeeded(t)
			o.pushed(t, image, nil, trusting)
		})
	}
	t.Run("unknown certificate", func(t *testing.T) {
		copied(map[string]any{}, nil).runAt(t, server.host).failed(t, 1, "RegistryRefused", "REGISTRY", "certificate")
	})
}

// TestPlainHTTP has a registry at an address for which nobody assumes plain HTTP.
func TestPlainHTTP(t *testing.T) {
	server := serveRegistry(t, "127.0.0.2", false, nil)
	o := plainBuild().runAt(t, server.host)
	o.succeeded(t)
	ref, err := name.ParseReference(fill(image, server.host), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	head, err := remote.Head(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if digest := head.Digest.String(); digest != o.results["IMAGE_DIGEST"] {
		t.Errorf("the registry has %s, IMAGE_DIGEST is %q", digest, o.results["IMAGE_DIGEST"])
	}
}

func TestLogin(t *testing.T) {
	server := serveRegistry(t, "127.0.0.1", false, withLogin)
	authorized := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	for name, b := range loginBuilds() {
		t.Run(name, func(t *testing.T) {
			o := b.runAt(t, server.host)
			o.succeeded(t)
			o.pushed(t, image, nil, authorized)
		})
	}
	t.Run("none", func(t *testing.T) {
		copied(map[string]any{}, nil).runAt(t, server.host).failed(t, 1, "RegistryRefused", "REGISTRY")
	})
	// The oldest way: Tekton's entrypoint writes the login of a Secret with an annotation to the home directory.
	t.Run("service account", func(t *testing.T) {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: taskrun.Namespace, Name: "login", Annotations: map[string]string{"tekton.dev/docker-0": "http://" + server.host},
			},
			Type: corev1.SecretTypeBasicAuth,
			Data: map[string][]byte{"username": []byte(user), "password": []byte(password)},
		}
		account := &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Namespace: taskrun.Namespace, Name: "default"},
			Secrets:    []corev1.ObjectReference{{Name: "login"}},
		}
		b := copied(map[string]any{}, nil)
		b.objects = []runtime.Object{secret, account}
		b.secrets = map[string]map[string]string{"login": {"username": user, "password": password}}
		o := b.runAt(t, server.host)
		o.succeeded(t)
		o.pushed(t, image, nil, authorized)
	})
}
