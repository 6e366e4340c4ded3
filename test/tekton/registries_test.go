package tekton_test

import (
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/slipway-build/slipway/internal/testbase"
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
func withLogin(next http.Handler) http.Handler { return testbase.WithLogin(user, password, next) }

// auths is a Docker configuration that logs in to REGISTRY.
func auths() string {
	return `{"auths":{"REGISTRY":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + `"}}}`
}

// copied is the build of an image without a base image.
func copied(params map[string]any, workspaces map[string]map[string]string) build {
	params["IMAGE"] = image
	return build{params: params, workspaces: workspaces, source: map[string]string{"Dockerfile": scratch, "file": "text\n"}}
}

// joined is an index of one image, which serveRegistry has.
func joined(params map[string]any, workspaces map[string]map[string]string) build {
	params["IMAGE"], params["IMAGES"] = image, []string{"REGISTRY/part:1"}
	return build{task: "slipway-index", params: params, workspaces: workspaces}
}

// maker is copied or joined.
type maker func(params map[string]any, workspaces map[string]map[string]string) build

func makers() map[string]maker { return map[string]maker{"build": copied, "index": joined} }

// tlsBuilds trust a registry's certificate, which is in the text CERTIFICATE.
func tlsBuilds(of maker) map[string]build {
	const file = "CERTIFICATE"
	return map[string]build{
		"not verified": of(map[string]any{"TLS_VERIFY": "false"}, nil),
		"certificates of a workspace": of(map[string]any{}, map[string]map[string]string{
			"sslcertdir": {"ca.crt": file},
		}),
		"certificate by name": of(map[string]any{"REGISTRY_CERTIFICATES": []string{"REGISTRY=of-one-registry"}}, map[string]map[string]string{
			"sslcertdir": {"of-one-registry": file},
		}),
	}
}

// loginBuilds have the login of user.
func loginBuilds(of maker) map[string]build {
	login := func(file string, content string) build {
		return of(map[string]any{}, map[string]map[string]string{"dockerconfig": {file: content}})
	}
	return map[string]build{
		"config.json":       login("config.json", auths()),
		".dockerconfigjson": login(".dockerconfigjson", auths()),
		".dockercfg": login(".dockercfg",
			`{"REGISTRY":{"auth":"`+base64.StdEncoding.EncodeToString([]byte(user+":"+password))+`"}}`),
	}
}

func plainBuild(of maker) build {
	return of(map[string]any{"INSECURE_REGISTRIES": []string{"REGISTRY"}}, nil)
}

// registryBuilds are the builds of the tests below, for the parameters that they set.
func registryBuilds() []build {
	var all []build
	for _, of := range makers() {
		all = append(all, plainBuild(of))
		for _, builds := range []map[string]build{tlsBuilds(of), loginBuilds(of)} {
			all = slices.AppendSeq(all, maps.Values(builds))
		}
	}
	return all
}

// elsewhere has the build push to a reference of its own, because others push to the same registry meanwhile.
func (b build) elsewhere(t *testing.T) (changed build, image string) {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "/")
	image = "REGISTRY/" + strings.NewReplacer("_", "-", ".", "").Replace(name) + ":v1"
	b.params["IMAGE"] = image
	return b, image
}

// pushPart pushes what joined joins.
func pushPart(t *testing.T, host string, options ...remote.Option) {
	t.Helper()
	ref, err := name.ParseReference(host+"/part:1", name.Insecure)
	if err == nil {
		err = remote.Write(ref, shared.base, append(options, remote.WithContext(t.Context()))...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	server := serveRegistry(t, "127.0.0.1", true, nil)
	trusting := remote.WithTransport(server.Client().Transport)
	pushPart(t, server.host, trusting)
	for kind, of := range makers() {
		for name, b := range tlsBuilds(of) {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				for _, files := range b.workspaces {
					for name, content := range files {
						if content == "CERTIFICATE" {
							files[name] = server.certificate()
						}
					}
				}
				b, image := b.elsewhere(t)
				o := b.runAt(t, server.host)
				o.succeeded(t)
				o.pushed(t, image, nil, trusting)
			})
		}
		t.Run(kind+" unknown certificate", func(t *testing.T) {
			t.Parallel()
			of(map[string]any{}, nil).runAt(t, server.host).failed(t, 1, "RegistryRefused", "REGISTRY", "certificate")
		})
	}
}

// TestPlainHTTP has a registry at an address for which nobody assumes plain HTTP.
func TestPlainHTTP(t *testing.T) {
	server := serveRegistry(t, "127.0.0.2", false, nil)
	pushPart(t, server.host)
	for kind, of := range makers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b, image := plainBuild(of).elsewhere(t)
			o := b.runAt(t, server.host)
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
		})
	}
}

func TestLogin(t *testing.T) {
	server := serveRegistry(t, "127.0.0.1", false, withLogin)
	authorized := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	pushPart(t, server.host, authorized)
	for kind, of := range makers() {
		for name, b := range loginBuilds(of) {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				b, image := b.elsewhere(t)
				o := b.runAt(t, server.host)
				o.succeeded(t)
				o.pushed(t, image, nil, authorized)
			})
		}
		t.Run(kind+" without login", func(t *testing.T) {
			t.Parallel()
			of(map[string]any{}, nil).runAt(t, server.host).failed(t, 1, "RegistryRefused", "REGISTRY")
		})
		// The oldest way: Tekton's entrypoint writes the login of a Secret with an annotation to the home directory.
		t.Run(kind+" with that of the service account", func(t *testing.T) {
			t.Parallel()
			b, image := of(map[string]any{}, nil).elsewhere(t)
			b.objects = serviceAccount("http://" + server.host)
			b.secrets = map[string]map[string]string{"login": {"username": user, "password": password}}
			o := b.runAt(t, server.host)
			o.succeeded(t)
			o.pushed(t, image, nil, authorized)
		})
	}
}

// serviceAccount is one with a login for a registry, as Tekton knows it.
func serviceAccount(registry string) []runtime.Object {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: taskrun.Namespace, Name: "login", Annotations: map[string]string{"tekton.dev/docker-0": registry},
		},
		Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte(user), "password": []byte(password)},
	}
	account := &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: taskrun.Namespace, Name: "default"},
		Secrets:    []corev1.ObjectReference{{Name: "login"}},
	}
	return []runtime.Object{secret, account}
}
