package registry_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

func mustOpen(t *testing.T, c *registry.Client, ref string) *registry.Stored {
	t.Helper()
	s, err := c.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// indexOf is an index of these entries.
func indexOf(adds ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.IndexMediaType(mutate.AppendManifests(empty.Index, adds...), types.OCIImageIndex)
}

// What lies in a registry is read when it is asked for, and once.
func TestOpenIsLazy(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "a", "b"))
	c := newClient(t, registry.Options{})
	stored := mustOpen(t, c, ref)
	if again := mustOpen(t, c, ref); again.String() != stored.String() || !strings.HasPrefix(stored.String(), s.host+"/app@sha256:") {
		t.Errorf("%s, then %s", stored, again)
	}
	images, err := stored.Images(t.Context())
	if err != nil || len(images) != 1 || images[0] != stored {
		t.Fatalf("images %v, %v", images, err)
	}
	if _, err := images[0].Image().Layers(); err != nil {
		t.Fatal(err)
	}
	if m, b := s.count(http.MethodGet, "/manifests/"), s.count(http.MethodGet, "/blobs/"); m != 1 || b != 0 {
		t.Errorf("%d manifests and %d blobs were fetched", m, b)
	}
	p, err := stored.Platform(t.Context())
	if err != nil || p.String() != "linux/amd64" {
		t.Errorf("platform %s, %v", p, err)
	}
	if err := validate.Image(stored.Image()); err != nil {
		t.Error(err)
	}
}

// A tag that moves does not split what one client sees.
func TestOpenResolvesOnce(t *testing.T) {
	s := serve(t)
	ref := s.put(t, "app:1", imageWith(t, amd64, "a"))
	c := newClient(t, registry.Options{})
	before := mustOpen(t, c, ref)
	s.put(t, "app:1", imageWith(t, amd64, "b"))
	if after := mustOpen(t, c, ref); after.String() != before.String() {
		t.Errorf("%s became %s", before, after)
	}
}

func TestStoredImages(t *testing.T) {
	s := serve(t)
	a, b := imageWith(t, amd64, "a"), imageWith(t, op.Platform{OS: "linux", Architecture: "arm64"}, "b")
	notes := map[string]string{"k": "v"}
	inner := indexOf(mutate.IndexAddendum{Add: b, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, Annotations: notes}})
	ref := s.put(t, "app:1", indexOf(mutate.IndexAddendum{Add: inner}, mutate.IndexAddendum{Add: a, Descriptor: v1.Descriptor{Platform: &v1.Platform{}}}))
	images, err := mustOpen(t, newClient(t, registry.Options{}), ref).Images(t.Context())
	if err != nil || len(images) != 2 {
		t.Fatalf("%v, %v", images, err)
	}
	for i, want := range []string{"linux/arm64/v8", "linux/amd64"} { // as the index says, and as the config does
		if p, err := images[i].Platform(t.Context()); err != nil || p.String() != want {
			t.Errorf("%d is for %s, %v", i, p, err)
		}
		if err := validate.Image(images[i].Image()); err != nil {
			t.Error(err)
		}
	}
	if images[0].Descriptor.Annotations["k"] != "v" {
		t.Errorf("annotations %v", images[0].Descriptor.Annotations)
	}
}

// raw is a manifest that the library would not write.
type raw struct {
	content   string
	mediaType types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return []byte(r.content), nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mediaType, nil }

func TestStoredRefuses(t *testing.T) {
	s := serve(t)
	image := imageWith(t, amd64, "a")
	s.put(t, "app:1", image)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	deep := indexOf(mutate.IndexAddendum{Add: image})
	for range 5 {
		deep = indexOf(mutate.IndexAddendum{Add: deep})
	}
	index := func(entry string) remote.Taggable {
		return raw{`{"schemaVersion":2,"mediaType":"` + string(types.OCIImageIndex) + `","manifests":[` + entry + `]}`, types.OCIImageIndex}
	}
	for name, c := range map[string]struct {
		m    remote.Taggable
		want string
		kind registry.Kind
	}{
		"too deep":     {deep, "nested more than", registry.Other},
		"wrong size":   {index(`{"mediaType":"` + string(types.OCIManifestSchema1) + `","digest":"` + digest.String() + `","size":7}`), "its index says 7", registry.Invalid},
		"other things": {index(`{"mediaType":"application/vnd.example","digest":"` + digest.String() + `","size":7}`), "application/vnd.example", registry.Unsupported},
		"no digest":    {index(`{"mediaType":"` + string(types.OCIManifestSchema1) + `","size":7}`), "damaged", registry.Invalid},
		"no platform":  {imageWith(t, op.Platform{OS: "linux"}, "b"), "names no platform", registry.NoPlatform},
	} {
		t.Run(name, func(t *testing.T) {
			ref := s.host + "/app:bad"
			if r, ok := c.m.(raw); ok { // the server would check it
				s.interceptWith(func(w http.ResponseWriter, req *http.Request) bool {
					if !strings.HasSuffix(req.URL.Path, "/manifests/bad") {
						return false
					}
					w.Header().Set("Content-Type", string(r.mediaType))
					_, _ = w.Write([]byte(r.content))
					return true
				})
				defer s.interceptWith(nil)
			} else {
				s.put(t, "app:bad", c.m)
			}
			stored := mustOpen(t, newClient(t, registry.Options{}), ref)
			images, err := stored.Images(t.Context())
			for _, i := range images {
				_, err = i.Platform(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || kindOf(t, err) != c.kind {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An entry without a media type is what its manifest says.
func TestStoredEntryWithoutMediaType(t *testing.T) {
	s := serve(t)
	image := imageWith(t, amd64, "a")
	s.put(t, "app:1", image)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	m := raw{`{"schemaVersion":2,"mediaType":"` + string(types.OCIImageIndex) + `","manifests":[{"digest":"` + digest.String() + `","size":7}]}`, types.OCIImageIndex}
	images, err := mustOpen(t, newClient(t, registry.Options{}), s.put(t, "app:2", m)).Images(t.Context())
	if err != nil || len(images) != 1 || images[0].Descriptor.MediaType != types.OCIManifestSchema1 {
		t.Errorf("got %v, %v", images, err)
	}
}
