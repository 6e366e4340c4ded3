package image_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

func openState(t *testing.T) *state.Dir {
	t.Helper()
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

var (
	now   = time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC)
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

// files is a layer with these files, made at now.
func files(t *testing.T, contents map[string]string) layer.Layer {
	t.Helper()
	var fs []layer.File
	for _, p := range slices.Sorted(maps.Keys(contents)) {
		fs = append(fs, layer.File{
			Entry:   layer.Entry{Path: p, Type: layer.Regular, Mode: 0o644, ModTime: now, Size: int64(len(contents[p]))},
			Content: layer.Bytes([]byte(contents[p])),
		})
	}
	l, err := layer.New(fs)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const config = `{"os":"linux","architecture":"amd64",
	"config":{"Env":["A=1"],"Labels":{"old":"1"},"Healthcheck":{"StartInterval":5},"OnBuild":["RUN x"],"Shell":["/bin/bash"]},
	"history":[{"created_by":"COPY a"}],
	"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]},
	"x-future":{"deep":[1,2,{"a<b":null}]}}`

func build(t *testing.T, s image.Spec) *image.Built {
	t.Helper()
	b, err := image.Build(t.Context(), s, layer.NewWriter(t.Context(), openState(t)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spec is an image of one new layer.
func spec(t *testing.T, change func(*image.Spec)) image.Spec {
	t.Helper()
	s := image.Spec{
		Platforms: []image.Platform{{Platform: amd64, Config: []byte(config), Tree: tree.New(files(t, map[string]string{"a": "A"}))}},
		Options:   image.Options{Now: now},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func TestImageIsValid(t *testing.T) {
	for name, change := range map[string]func(*image.Spec){
		"gzip":         nil,
		"zstd":         func(s *image.Spec) { s.Compression.Algorithm = compression.Zstd },
		"uncompressed": func(s *image.Spec) { s.Compression.Algorithm = compression.None },
		"docker":       func(s *image.Spec) { s.Docker = true },
		"several layers": func(s *image.Spec) {
			s.Platforms[0].Tree = s.Platforms[0].Tree.Push(files(t, map[string]string{"b": "B"}))
		},
		"no layers": func(s *image.Spec) { s.Platforms[0].Tree = nil },
	} {
		t.Run(name, func(t *testing.T) {
			img := build(t, spec(t, change)).Images()[0]
			checkLayers(t, img)
			// The library's checks read layers as gzip.
			if name != "zstd" && name != "uncompressed" {
				if err := validate.Image(img); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// checkLayers compares the layers with what the manifest and the config say of them.
func checkLayers(t *testing.T, img v1.Image) {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != len(layers) || len(c.RootFS.DiffIDs) != len(layers) {
		t.Fatalf("%d layers, %d in the manifest, %d in the config", len(layers), len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for i, l := range layers {
		blob, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		digest, size, err := v1.SHA256(blob)
		if err := errors.Join(err, blob.Close()); err != nil {
			t.Fatal(err)
		}
		if digest != m.Layers[i].Digest || size != m.Layers[i].Size {
			t.Errorf("layer %d is %s with %d bytes, the manifest says %+v", i, digest, size, m.Layers[i])
		}
		plain, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		diffID, _, err := v1.SHA256(plain)
		if err := errors.Join(err, plain.Close()); err != nil {
			t.Fatal(err)
		}
		if diffID != c.RootFS.DiffIDs[i] {
			t.Errorf("layer %d has diff id %s, the config says %s", i, diffID, c.RootFS.DiffIDs[i])
		}
	}
}

func TestIndexIsValid(t *testing.T) {
	b := build(t, spec(t, func(s *image.Spec) {
		second := s.Platforms[0]
		second.Platform = arm64
		second.Config = []byte(strings.Replace(config, "amd64", "arm64", 1))
		s.Platforms = append(s.Platforms, second)
	}))
	if err := validate.Index(b.Index()); err != nil {
		t.Error(err)
	}
	m, err := b.Index().IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 2 || !m.Manifests[0].Platform.Equals(amd64) || !m.Manifests[1].Platform.Equals(arm64) {
		t.Errorf("the index lists %v", m.Manifests)
	}
}

func decode(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestConfigKeepsWhatItDoesNotKnow(t *testing.T) {
	b := build(t, spec(t, func(s *image.Spec) { s.Labels = map[string]string{"new": "2"} }))
	raw, err := b.Images()[0].RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got, want := decode(t, raw), decode(t, []byte(config))
	want["config"].(map[string]any)["Labels"] = map[string]any{"old": "1", "new": "2"}
	for _, key := range []string{"config", "os", "architecture", "x-future"} {
		if !reflect.DeepEqual(got[key], want[key]) {
			t.Errorf("%s is %v, want %v", key, got[key], want[key])
		}
	}
	c, err := b.Images()[0].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	list := b.Images()[0].List()
	if len(c.RootFS.DiffIDs) != 1 || c.RootFS.DiffIDs[0] != list[0].DiffID || c.RootFS.Type != "layers" {
		t.Errorf("rootfs is %v", c.RootFS)
	}
	if !c.Created.Equal(now) || !c.History[0].Created.Equal(now) {
		t.Errorf("created %s, history %v, want %s", c.Created, c.History, now)
	}
	if !list[0].New || list[0].CreatedBy != "COPY a" {
		t.Errorf("the list of layers says %+v", list[0])
	}
}

func TestEpoch(t *testing.T) {
	epoch := time.Unix(1e9, 0)
	b := build(t, spec(t, func(s *image.Spec) { s.Epoch = &epoch }))
	c, err := b.Images()[0].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !c.Created.Equal(epoch) || !c.History[0].Created.Equal(epoch) {
		t.Errorf("created %s, history %v, want %s", c.Created, c.History, epoch)
	}
	for _, h := range tarHeaders(t, b.Images()[0], 0) {
		if !h.ModTime.Equal(epoch) {
			t.Errorf("%s is of %s", h.Name, h.ModTime)
		}
	}
	if got := b.Images()[0].List()[0].Annotations["buildkit/rewritten-timestamp"]; got != "1000000000" {
		t.Errorf("the layer is annotated %q", got)
	}
	kept := build(t, spec(t, func(s *image.Spec) { s.Epoch, s.KeepLayerTimes = &epoch, true }))
	if got := kept.Images()[0].List()[0].Annotations; len(got) != 0 {
		t.Errorf("a layer with its own times is annotated %v", got)
	}
	for _, h := range tarHeaders(t, kept.Images()[0], 0) {
		if !h.ModTime.Equal(now.Truncate(time.Second)) {
			t.Errorf("%s is of %s", h.Name, h.ModTime)
		}
	}
}

func tarHeaders(t *testing.T, img v1.Image, i int) []*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var out []*tar.Header
	if err := testbase.EachEntry(layers[i], func(h *tar.Header, _ []byte) { out = append(out, h) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSameInputsSameDigest(t *testing.T) {
	for name, change := range map[string]func(*image.Spec){
		"plain": nil,
		"rich": func(s *image.Spec) {
			s.Labels = map[string]string{"a": "1", "b": "2", "c": "3"}
			for k := range s.Labels {
				s.Annotations = append(s.Annotations, image.Annotation{Target: image.OnManifest, Key: k, Value: k})
			}
			slices.SortFunc(s.Annotations, func(a, b image.Annotation) int { return strings.Compare(a.Key, b.Key) })
		},
		"zstd": func(s *image.Spec) { s.Compression = compression.Options{Algorithm: compression.Zstd, Level: 7} },
	} {
		t.Run(name, func(t *testing.T) {
			first := build(t, spec(t, change)).Digest()
			for range 3 {
				if again := build(t, spec(t, change)).Digest(); again != first {
					t.Fatalf("%s, then %s", first, again)
				}
			}
		})
	}
}

// base is an image as a registry gives it.
type base struct {
	blobs  []v1.Layer
	layers []layer.Layer
}

func newBase(t *testing.T, mediaTypes ...types.MediaType) base {
	t.Helper()
	var b base
	ref, err := name.NewTag("registry.example/base:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, mt := range mediaTypes {
		l, err := random.Layer(100, mt)
		if err != nil {
			t.Fatal(err)
		}
		m := &remote.MountableLayer{Layer: unreadable{l}, Reference: ref}
		b.blobs = append(b.blobs, m)
		b.layers = append(b.layers, layer.FromBlob(m, openState(t)))
	}
	return b
}

// unreadable is a layer blob that nobody needs to read.
type unreadable struct{ v1.Layer }

func (unreadable) Compressed() (io.ReadCloser, error) {
	return nil, errors.New("a base layer was read")
}
func (unreadable) Uncompressed() (io.ReadCloser, error) {
	return nil, errors.New("a base layer was read")
}

func TestBaseLayersAreNotTouched(t *testing.T) {
	epoch := time.Unix(1e9, 0)
	base := newBase(t, types.DockerLayer)
	b := build(t, spec(t, func(s *image.Spec) {
		s.Epoch = &epoch
		s.Platforms[0].Tree = tree.New(append(base.layers, s.Platforms[0].Tree.Layers()...)...)
	}))
	m, err := b.Images()[0].Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := base.blobs[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Layers[0].Digest != want || m.Layers[0].MediaType != types.OCILayer {
		t.Errorf("the base layer became %+v", m.Layers[0])
	}
	layers, err := b.Images()[0].Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := layers[0].(*remote.MountableLayer); !ok {
		t.Errorf("the base layer is a %T and cannot be mounted any more", layers[0])
	}
	if list := b.Images()[0].List(); list[0].New || !list[1].New {
		t.Errorf("new are %t and %t", list[0].New, list[1].New)
	}
}

func TestMediaTypes(t *testing.T) {
	const ociForeignZstd = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
	for _, test := range []struct {
		in           types.MediaType
		docker, keep bool
		want         types.MediaType // "" for an error
	}{
		{types.DockerLayer, false, false, types.OCILayer},
		{types.DockerLayer, true, false, types.DockerLayer},
		{types.OCILayer, true, false, types.DockerLayer},
		{types.OCILayerZStd, true, false, "application/vnd.docker.image.rootfs.diff.tar.zstd"},
		{types.OCIUncompressedLayer, true, false, types.DockerUncompressedLayer},
		{types.DockerForeignLayer, false, false, types.OCILayer},
		{types.DockerForeignLayer, false, true, types.OCIRestrictedLayer},
		{types.OCIRestrictedLayer, true, true, types.DockerForeignLayer},
		{ociForeignZstd, true, true, ""},
		{"application/vnd.in-toto+json", false, false, ""},
	} {
		l := static.NewLayer([]byte("x"), test.in)
		s := spec(t, func(s *image.Spec) {
			s.Docker, s.KeepForeign = test.docker, test.keep
			s.Platforms[0].Tree = tree.New(layer.FromBlob(l, openState(t)))
		})
		b, err := image.Build(t.Context(), s, layer.NewWriter(t.Context(), openState(t)))
		if test.want == "" {
			if err == nil {
				t.Errorf("%s is accepted", test.in)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got := b.Images()[0].List()[0].MediaType; got != test.want {
			t.Errorf("%s (docker %t, keep %t) became %s, want %s", test.in, test.docker, test.keep, got, test.want)
		}
	}
}

func TestAnnotationsAreSet(t *testing.T) {
	all := []image.Annotation{
		{Target: image.OnManifest, Key: "m", Value: "all"},
		{Target: image.OnManifest, Platform: "linux/arm64", Key: "m", Value: "arm"},
		{Target: image.OnManifestDescriptor, Platform: "linux/amd64", Key: "md", Value: "amd"},
		{Target: image.OnIndex, Key: "i", Value: "index"},
		{Target: image.OnIndexDescriptor, Key: "id", Value: "desc"},
	}
	b := build(t, spec(t, func(s *image.Spec) {
		second := s.Platforms[0]
		second.Platform = v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
		s.Platforms = append(s.Platforms, second)
		s.Annotations = all
	}))
	for i, want := range []string{"all", "arm"} {
		m, err := b.Images()[i].Manifest()
		if err != nil || m.Annotations["m"] != want {
			t.Errorf("manifest %d has %v, %v", i, m.Annotations, err)
		}
	}
	x, err := b.Index().IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if x.Annotations["i"] != "index" || x.Manifests[0].Annotations["md"] != "amd" || x.Manifests[1].Annotations != nil {
		t.Errorf("the index is %+v", x)
	}
	if d := b.Descriptor(); d.Annotations["id"] != "desc" {
		t.Errorf("its descriptor is %+v", d)
	}
}

func TestRefusedSpecs(t *testing.T) {
	annotate := func(a image.Annotation) func(*image.Spec) {
		return func(s *image.Spec) { a.Key = "k"; s.Annotations = []image.Annotation{a} }
	}
	for name, test := range map[string]struct {
		change func(*image.Spec)
		says   string
	}{
		"no platform":            {func(s *image.Spec) { s.Platforms = nil }, "no platform"},
		"one platform twice":     {func(s *image.Spec) { s.Platforms = append(s.Platforms, s.Platforms[0]) }, "twice"},
		"bad level":              {func(s *image.Spec) { s.Compression.Level = 99 }, "level"},
		"bad config":             {func(s *image.Spec) { s.Platforms[0].Config = []byte("{") }, "config"},
		"null config":            {func(s *image.Spec) { s.Platforms[0].Config = []byte("null") }, "os"},
		"no architecture":        {func(s *image.Spec) { s.Platforms[0].Config = []byte(`{"os":"linux"}`) }, "architecture"},
		"index annotation":       {annotate(image.Annotation{Target: image.OnIndex}), "index"},
		"platform not built for": {annotate(image.Annotation{Target: image.OnManifest, Platform: "linux/s390x"}), "s390x"},
		"docker and annotations": {func(s *image.Spec) {
			s.Docker = true
			annotate(image.Annotation{Target: image.OnManifestDescriptor})(s)
		}, "OCI media types"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := image.Build(t.Context(), spec(t, test.change), layer.NewWriter(t.Context(), openState(t)))
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDefaultConfig(t *testing.T) {
	b := build(t, spec(t, func(s *image.Spec) {
		s.Platforms[0].Config = nil
		s.Platforms[0].Platform = v1.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}
	}))
	c, err := b.Images()[0].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.OS != "linux" || c.Architecture != "arm" || c.Variant != "v6" || c.Config.WorkingDir != "/" || len(c.Config.Env) != 1 || len(c.History) != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestOneLayerInSeveralImagesIsWrittenOnce(t *testing.T) {
	shared := files(t, map[string]string{"x": strings.Repeat("x", 1000)})
	b := build(t, spec(t, func(s *image.Spec) {
		s.Platforms[0].Tree = tree.New(shared, shared)
		second := s.Platforms[0]
		second.Platform, second.Tree = arm64, tree.New(shared)
		s.Platforms = append(s.Platforms, second)
	}))
	first, err := b.Images()[0].Layers()
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Images()[1].Layers()
	if err != nil {
		t.Fatal(err)
	}
	if first[0] != first[1] || first[0] != second[0] {
		t.Error("the layer was written several times")
	}
}
