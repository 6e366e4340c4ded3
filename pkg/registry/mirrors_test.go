package registry_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// notes collects what a client warns of.
type notes struct {
	mu   sync.Mutex
	text []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, s)
}

func (n *notes) contain(part string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.text, func(s string) bool { return strings.Contains(s, part) })
}

// refusing answers everything with a status.
func refusing(status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		return true
	}
}

// Two mirrors and the registry itself; each has an image of its own, so that the content tells where it came from.
func TestMirrors(t *testing.T) {
	for name, test := range map[string]struct {
		first, second string // what the mirrors do: "", "lacks", or a status
		only          bool
		want          string // the content of the image that is pulled, "" for an error
		noted         string
	}{
		"the first one has it":         {want: "first", noted: "are pulled from"},
		"the first one lacks it":       {first: "lacks", want: "second", noted: "is passed over"},
		"the first one refuses":        {first: "403", want: "second", noted: "is passed over"},
		"the first one is broken":      {first: "502", want: "second", noted: "is passed over"},
		"the first one limits":         {first: "429", want: "second", noted: "is passed over"},
		"neither has it":               {first: "lacks", second: "lacks", want: "origin", noted: "is passed over"},
		"neither works":                {first: "500", second: "401", want: "origin", noted: "is passed over"},
		"no fallback, a mirror has it": {first: "lacks", only: true, want: "second"},
		"no fallback, none has it":     {first: "lacks", second: "lacks", only: true},
	} {
		t.Run(name, func(t *testing.T) {
			first, second, original := serve(t), serve(t), serve(t)
			ref := original.put(t, "team/app:1", imageWith(t, amd64, "origin"))
			for s, does := range map[*server]string{first: test.first, second: test.second} {
				switch does {
				case "":
				case "lacks":
					continue
				default:
					s.interceptWith(refusing(status(t, does)))
					continue
				}
				content := "second"
				if s == first {
					content = "first"
				}
				s.put(t, "proxy/team/app:1", imageWith(t, amd64, content))
			}
			var n notes
			c := newClient(t, registry.Options{
				Mirrors:     map[string][]string{original.host: {first.host + "/proxy", second.host + "/proxy/"}},
				MirrorsOnly: test.only, Warn: n.add,
			})
			img, err := c.Resolve(t.Context(), ref, amd64)
			if test.want == "" {
				if k := kindOf(t, err); k != registry.NotFound || original.count("GET", "") > 0 {
					t.Errorf("kind %d, %d requests to the original: %v", k, original.count("GET", ""), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(img.Ref, ref+"@") {
				t.Errorf("the image is called %s, want the name that was asked for", img.Ref)
			}
			got, err := read(t.Context(), t, c, &op.Image{Ref: img.Ref, Platform: amd64})
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			if !n.contain(test.noted) {
				t.Errorf("notes %q", n.text)
			}
			mountable, ok := img.Layers[0].(*remote.MountableLayer)
			if !ok {
				t.Fatalf("the layer cannot be mounted: %T", img.Layers[0])
			}
			host := map[string]string{"first": first.host, "second": second.host, "origin": original.host}[test.want]
			if at := mountable.Reference.Context().RegistryStr(); at != host {
				t.Errorf("it can be mounted from %s, it is in %s", at, host)
			}
		})
	}
}

func status(t *testing.T, s string) int {
	t.Helper()
	code, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// loginsByHost has a login for every registry, with the registry's name in it.
type loginsByHost struct{}

func (loginsByHost) Candidates(repo name.Repository) []credentials.Candidate {
	return oneLogin{Username: "user", Password: "of " + repo.RegistryStr()}.Candidates(repo)
}

// A mirror has the manifest, and not its layers: they come from where they are, and are checked.
func TestBlobsFromWhoeverHasThem(t *testing.T) {
	for name, spoil := range map[string]func(*server) func(http.ResponseWriter, *http.Request) bool{
		"missing": func(*server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/blobs/") {
					w.WriteHeader(http.StatusNotFound)
					return true
				}
				return false
			}
		},
		"damaged": func(s *server) func(http.ResponseWriter, *http.Request) bool {
			return damaged(s, func(w http.ResponseWriter, _ *http.Request, body []byte) {
				body[len(body)/2] ^= 1
				_, _ = w.Write(body)
			})
		},
		"broken off for good": func(s *server) func(http.ResponseWriter, *http.Request) bool {
			return damaged(s, func(w http.ResponseWriter, r *http.Request, body []byte) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				breakOff(w, body, len(body)/2)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			mirror, original := serve(t), serve(t)
			content := strings.Repeat("content", 1000)
			image := imageWith(t, amd64, content)
			mirror.put(t, "app:1", image)
			ref := original.put(t, "app:1", image)
			mirror.interceptWith(spoil(mirror))
			c := newClient(t, registry.Options{Mirrors: map[string][]string{original.host: {mirror.host}}})
			got, err := readLayer(t, c, ref)
			if err != nil || got != content {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if original.count("GET", "/manifests/1") > 0 {
				t.Error("the tag was looked up in both")
			}
		})
	}
}

// A mirror that does not answer is asked no more: it would cost its time for every image.
func TestDeadMirrorIsAskedOnce(t *testing.T) {
	mirror, original := serve(t), serve(t)
	a := original.put(t, "a:1", imageWith(t, amd64, "a"))
	b := original.put(t, "b:1", imageWith(t, amd64, "b"))
	mirror.interceptWith(refusing(http.StatusBadGateway))
	c := newClient(t, registry.Options{Mirrors: map[string][]string{original.host: {mirror.host}}})
	for _, ref := range []string{a, b} {
		if _, err := readLayer(t, c, ref); err != nil {
			t.Fatal(err)
		}
	}
	if n := mirror.count("GET", "/v2/"); n > 4 { // two attempts, each by HTTPS and HTTP at most
		t.Errorf("%d requests", n)
	}
}

// A mirror gets its own host's login, and never the registry's.
func TestMirrorLogin(t *testing.T) {
	mirror, original := serve(t), serve(t)
	ref := original.put(t, "app:1", imageWith(t, amd64, "origin"))
	mirror.put(t, "app:1", imageWith(t, amd64, "mirror"))
	mirror.interceptWith(requireBasic("user", "of "+mirror.host))
	c := newClient(t, registry.Options{
		Credentials: loginsByHost{}, Mirrors: map[string][]string{original.host: {mirror.host}},
	})
	if got, err := readLayer(t, c, ref); err != nil || got != "mirror" {
		t.Errorf("got %q, %v", got, err)
	}
}

// What was pushed is looked for where it was pushed to, and caches are where they are.
func TestMirrorsAreForPullsOnly(t *testing.T) {
	mirror, original := serve(t), serve(t)
	ref := original.put(t, "app:1", imageWith(t, amd64, "origin"))
	c := newClient(t, registry.Options{Mirrors: map[string][]string{original.host: {mirror.host}}})
	if _, err := c.Open(t.Context(), ref); err != nil {
		t.Error(err)
	}
	to, err := c.Destinations([]string{original.host + "/pushed:1"})
	if err != nil {
		t.Fatal(err)
	}
	m := imageWith(t, amd64, "new")
	if err := to.Push(t.Context(), m); err != nil {
		t.Error(err)
	}
	if err := to.Tag(t.Context(), m); err != nil {
		t.Error(err)
	}
	repo, err := c.Repository(original.host + "/app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Manifest(t.Context(), "1"); err != nil {
		t.Error(err)
	}
	if n := mirror.count(http.MethodGet, "") + mirror.count(http.MethodHead, "") + mirror.count(http.MethodPost, ""); n > 0 {
		t.Errorf("%d requests to the mirror", n)
	}
}

func TestBadMirrors(t *testing.T) {
	for mirror, want := range map[string]string{
		"https://mirror.example.com": "without a scheme",
		"":                           "no registry",
		"mirror.example.com/UPPER":   "repository",
	} {
		_, err := registry.New(t.Context(), registry.Options{Mirrors: map[string][]string{"docker.io": {mirror}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", mirror, err)
		}
	}
}

// Debian's docker-registry as a mirror that fetches what it is asked for.
func TestPullThroughMirror(t *testing.T) {
	original := distribution.Serve(t)
	mirror := distribution.ServeMirror(t, original.Host)
	ref, err := name.ParseReference(original.Host + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(ref, imageWith(t, amd64, "below", "content")); err != nil {
		t.Fatal(err)
	}
	// Reached by another name, the registry is not there: all comes through the mirror.
	c := newClient(t, registry.Options{Mirrors: map[string][]string{"registry.invalid": {mirror.Host}}})
	if got, err := readLayer(t, c, "registry.invalid/team/app:1"); err != nil || got != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Resolve(t.Context(), "registry.invalid/team/other:1", amd64); err == nil || !strings.Contains(err.Error(), mirror.Host) {
		t.Errorf("of an image that nobody has: %v", err)
	}
}
