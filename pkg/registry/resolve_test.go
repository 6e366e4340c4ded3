package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

func TestResolvingFetchesNoLayer(t *testing.T) {
	s := serve(t)
	img := imageWith(t, amd64, "one", "two")
	ref := s.put(t, "app:1", img)
	c := newClient(t, registry.Options{})

	pinned, digest, config, err := c.ResolveImage(t.Context(), ref, amd64, "default", "")
	if err != nil {
		t.Fatal(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if pinned != ref+"@"+want.String() || digest.String() != want.String() {
		t.Errorf("got %s and %s, want digest %s", pinned, digest, want)
	}
	if raw, err := img.RawConfigFile(); err != nil || string(raw) != string(config) {
		t.Errorf("config is %q, %v", config, err)
	}
	layers, err := c.Layers(t.Context(), &op.Image{Ref: pinned, Platform: amd64})
	if err != nil || len(layers) != 2 {
		t.Fatalf("got %d layers, %v", len(layers), err)
	}
	if n := s.count("GET", "/blobs/"); n != 1 {
		t.Errorf("%d blobs were fetched, want only the config", n)
	}
	got, err := read(t.Context(), t, c, &op.Image{Ref: pinned, Platform: amd64})
	if err != nil || got != "two" {
		t.Errorf("read %q, %v", got, err)
	}
	if n := s.count("GET", "/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched, want the config and one layer", n)
	}
}

func TestEachThingIsFetchedOnce(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "one"))
	c := newClient(t, registry.Options{})
	var wg sync.WaitGroup
	layers := make([]layer.Layer, 20)
	for i := range layers {
		wg.Go(func() {
			img, err := c.Resolve(t.Context(), ref, amd64)
			if err != nil {
				t.Error(err)
				return
			}
			ls, err := c.Layers(t.Context(), &op.Image{Ref: img.Ref, Platform: amd64})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := ls[0].Index(t.Context()); err != nil {
				t.Error(err)
			}
			layers[i] = ls[0]
		})
	}
	wg.Wait()
	for _, l := range layers {
		if l != layers[0] {
			t.Fatal("one blob gave several layers")
		}
	}
	// The tag and the digest are different questions.
	if n := s.count("GET", "/manifests/"); n > 2 {
		t.Errorf("%d requests for manifests, want at most 2", n)
	}
	if n := s.count("GET", "/blobs/"); n > 3 {
		t.Errorf("%d requests for blobs, want at most 3", n)
	}
}

func TestPlatforms(t *testing.T) {
	s := serve(t)
	platform := func(s string) op.Platform {
		f := append(strings.Split(s, "/"), "")
		return op.Platform{OS: f[0], Architecture: f[1], Variant: f[2]}
	}
	index := func(have ...string) v1.ImageIndex {
		x := v1.ImageIndex(empty.Index)
		for _, h := range have {
			p := platform(h)
			x = mutate.AppendManifests(x, mutate.IndexAddendum{
				Add:        imageWith(t, p, h),
				Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}},
			})
		}
		return x
	}
	for i, test := range []struct {
		have      []string
		want, got string // got "" for none
	}{
		{[]string{"linux/arm64", "linux/amd64"}, "linux/amd64", "linux/amd64"},
		{[]string{"linux/arm/v5", "linux/arm/v7", "linux/arm/v6"}, "linux/arm/v7", "linux/arm/v7"},
		{[]string{"linux/arm/v5", "linux/arm/v6"}, "linux/arm/v7", "linux/arm/v6"},
		{[]string{"linux/arm/v7"}, "linux/arm/v6", ""},
		{[]string{"linux/arm64/v8"}, "linux/arm64", "linux/arm64/v8"},
		{[]string{"linux/arm64"}, "linux/arm64/v8", "linux/arm64"},
		{[]string{"linux/amd64", "linux/amd64/v2"}, "linux/amd64/v3", "linux/amd64/v2"},
		{[]string{"linux/amd64/v2", "linux/amd64"}, "linux/amd64", "linux/amd64"},
		{[]string{"windows/amd64", "unknown/unknown"}, "linux/amd64", ""},
		{nil, "linux/amd64", ""},
	} {
		t.Run(fmt.Sprintf("%s in %v", test.want, test.have), func(t *testing.T) {
			ref := s.put(t, fmt.Sprintf("index:%d", i), index(test.have...))
			c := newClient(t, registry.Options{})
			img, err := c.Resolve(t.Context(), ref, platform(test.want))
			if test.got == "" {
				if k := kindOf(t, err); k != registry.NoPlatform {
					t.Errorf("kind %d: %v", k, err)
				}
				for _, h := range test.have {
					if !strings.HasPrefix(h, "unknown") && !strings.Contains(err.Error(), h) {
						t.Errorf("%q does not say that there is %s", err, h)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(t.Context(), t, c, &op.Image{Ref: img.Ref, Platform: platform(test.want)})
			if err != nil || got != test.got {
				t.Errorf("got the image for %q, %v, want %q", got, err, test.got)
			}
		})
	}
}

// The base image of another platform is BuildKit's to warn about, in the frontend.
func TestSingleManifestIsTakenWhateverItsPlatform(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:arm", imageWith(t, op.Platform{OS: "linux", Architecture: "arm64"}, "x"))
	if _, err := newClient(t, registry.Options{}).Resolve(t.Context(), ref, amd64); err != nil {
		t.Error(err)
	}
}

func TestIndexEntryWithoutPlatformIsJudgedByItsConfig(t *testing.T) {
	s := serve(t)
	x := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: imageWith(t, op.Platform{OS: "linux", Architecture: "s390x"}, "s390x")},
		mutate.IndexAddendum{Add: imageWith(t, amd64, "amd64")})
	ref := s.put(t, "x:1", x)
	c := newClient(t, registry.Options{})
	img, err := c.Resolve(t.Context(), ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t.Context(), t, c, &op.Image{Ref: img.Ref, Platform: amd64}); got != "amd64" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRefusedManifests(t *testing.T) {
	for name, test := range map[string]struct {
		mediaType, body string
		kind            registry.Kind
		says            string
	}{
		"schema 1":     {"application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"name":"x"}`, registry.Unsupported, "schema 1"},
		"not json":     {string(types.OCIManifestSchema1), `nonsense`, registry.Invalid, "damaged"},
		"artifact":     {string(types.OCIManifestSchema1), `{"schemaVersion":2,"mediaType":"application/x","config":{}}`, registry.Unsupported, "application/x"},
		"bad digest":   {string(types.OCIManifestSchema1), `{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":3}}`, registry.Invalid, "damaged"},
		"no config":    {string(types.OCIManifestSchema1), `{"schemaVersion":2}`, registry.Invalid, "damaged"},
		"huge config":  {string(types.OCIManifestSchema1), `{"schemaVersion":2,"config":{"size":99999999999,"digest":"sha256:` + strings.Repeat("a", 64) + `"}}`, registry.Other, "more than"},
		"negative":     {string(types.OCIManifestSchema1), `{"schemaVersion":2,"config":{"size":-1,"digest":"sha256:` + strings.Repeat("a", 64) + `"}}`, registry.Invalid, "damaged"},
		"empty object": {"", `{}`, registry.Invalid, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.Header().Set("Content-Type", test.mediaType)
				_, err := w.Write([]byte(test.body))
				return err == nil
			})
			_, err := newClient(t, registry.Options{}).Resolve(t.Context(), s.host+"/x:1", amd64)
			if k := kindOf(t, err); k != test.kind || !strings.Contains(err.Error(), test.says) {
				t.Errorf("kind %d, want %d: %v", k, test.kind, err)
			}
		})
	}
}

func TestEveryCallForOneTagGivesOneAnswer(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "old"))
	c := newClient(t, registry.Options{})
	first, err := c.Resolve(t.Context(), ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, "app:1", imageWith(t, amd64, "new"))
	second, err := c.Resolve(t.Context(), ref, amd64)
	if err != nil || second.Digest != first.Digest {
		t.Errorf("the tag moved during the build: %v, %v", second, err)
	}
}

func TestReferences(t *testing.T) {
	c := newClient(t, registry.Options{Hosts: map[string]registry.Host{
		"plain.example": {Access: registry.Access{PlainHTTP: true}}, "docker.io": {Access: registry.Access{PlainHTTP: true}}}})
	for ref, want := range map[string][2]string{
		"alpine":                        {"index.docker.io/library/alpine:latest", "http"},
		"docker.io/library/a:3":         {"index.docker.io/library/a:3", "http"},
		"plain.example/x":               {"plain.example/x:latest", "http"},
		"other.example/x":               {"other.example/x:latest", "https"},
		"localhost:5000/x":              {"localhost:5000/x:latest", "http"},
		"[::1]:5000/x:v":                {"[::1]:5000/x:v", "http"},
		"UPPER/x":                       {},
		"x:" + strings.Repeat("a", 300): {},
		"":                              {},
	} {
		r, err := c.ParseReference(ref)
		if want[0] == "" {
			if err == nil {
				t.Errorf("%q is accepted as %s", ref, r)
			} else if kindOf(t, err) != registry.Invalid {
				t.Error(err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if r.Name() != want[0] || r.Context().Scheme() != want[1] {
			t.Errorf("%q is %s over %s, want %v", ref, r.Name(), r.Context().Scheme(), want)
		}
	}
}

func TestUnknownResolveModeIsRefused(t *testing.T) {
	c := newClient(t, registry.Options{})
	if _, _, _, err := c.ResolveImage(t.Context(), "x", amd64, "sometimes", ""); err == nil {
		t.Error("accepted")
	}
}

func TestOneCallersPatienceIsItsOwn(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "x"))
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			once.Do(func() { close(entered); <-release })
		}
		return false
	})
	c := newClient(t, registry.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() { _, err := c.Resolve(ctx, ref, amd64); gaveUp <- err }()
	<-entered
	patient := make(chan error, 1)
	go func() { _, err := c.Resolve(t.Context(), ref, amd64); patient <- err }()
	cancel()
	if err := <-gaveUp; err == nil {
		t.Error("a canceled call succeeded")
	}
	select {
	case err := <-patient:
		t.Errorf("the other caller came back early: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err := <-patient; err != nil {
		t.Error(err)
	}
	if n := s.count("GET", "/manifests/"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestDuplicateBlobsInOneImage(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "same", "same"))
	c := newClient(t, registry.Options{})
	img, err := c.Resolve(t.Context(), ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := c.Layers(t.Context(), &op.Image{Ref: img.Ref, Platform: amd64})
	if err != nil || len(layers) != 2 || len(slices.Compact(layers)) != 1 {
		t.Errorf("got %v, %v", layers, err)
	}
}
