package fanin_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/fanin"
	"github.com/slipway-build/slipway/results"
)

// The usual fan-in: the legs pushed to the repository of the index, and say where by tag and digest, by
// digest alone, and by tag.
func TestJoin(t *testing.T) {
	s := memory(t)
	amd, arm64, arm := imageFor(t, "linux/amd64", false), imageFor(t, "linux/arm64/v8", false), imageFor(t, "linux/arm/v7", false)
	s.put(t, "app:amd64", amd)
	s.put(t, "app:arm64", arm64)
	s.put(t, "app:arm", arm)
	dir := t.TempDir()
	m, res, log := mustJoin(t, fanin.Options{
		Images: []string{
			s.host + "/app:amd64@" + digestOf(t, amd),
			s.host + "/app@" + digestOf(t, arm64),
			s.host + "/app:arm",
		},
		Tags:      []string{s.host + "/app:v1", s.host + "/app:latest"},
		Platforms: []string{"linux/arm/v7", "linux/arm64", "linux/amd64"},
		Results:   results.Files{Dir: dir, DigestFile: filepath.Join(dir, "digest"), NameTagDigestFile: filepath.Join(dir, "names")},
	})
	if got := platformsOf(m); got != "linux/amd64 linux/arm64/v8 linux/arm/v7" {
		t.Errorf("platforms %s: their order is that of the references", got)
	}
	if m.MediaType != types.OCIImageIndex || m.SchemaVersion != 2 {
		t.Errorf("it is a %s, version %d", m.MediaType, m.SchemaVersion)
	}
	if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, s.host+"/app:v1")))); err != nil {
		t.Error(err)
	}
	if sent := append(s.seen("POST", ""), s.seen("PATCH", "")...); len(sent) != 0 || strings.Contains(log, "copying") {
		t.Errorf("the images were there, and yet it sent %q:\n%s", sent, log)
	}
	var order []string
	for _, put := range s.seen("PUT", "/manifests/") {
		path, _, _ := strings.Cut(strings.TrimPrefix(put, "PUT "), " ")
		order = append(order, filepath.Base(path))
	}
	if want := res.Digest + " v1 latest"; strings.Join(order, " ") != want {
		t.Errorf("manifests were put in the order %q, want %s", order, want)
	}
	for file, want := range map[string]string{
		"IMAGE_URL": s.host + "/app:v1", "IMAGE_DIGEST": res.Digest, "digest": res.Digest,
		"IMAGE_REF": s.host + "/app:v1@" + res.Digest,
		"IMAGES":    s.host + "/app:v1@" + res.Digest + "," + s.host + "/app:latest@" + res.Digest,
		"names":     s.host + "/app:v1@" + res.Digest + "\n" + s.host + "/app:latest@" + res.Digest + "\n",
	} {
		if got := must[[]byte](t)(os.ReadFile(filepath.Join(dir, file))); string(got) != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if want := "pushed " + s.host + "/app:v1@" + res.Digest + "\n"; !strings.Contains(log, want) {
		t.Errorf("the log does not say %q:\n%s", want, log)
	}
}

func TestSameInputsGiveTheSameBytes(t *testing.T) {
	s := memory(t)
	refs := []string{s.put(t, "a:1", imageFor(t, "linux/amd64", false)), s.put(t, "b:1", imageFor(t, "linux/arm64", false))}
	run := func(refs ...string) string {
		var out bytes.Buffer
		res, _, err := join(t, fanin.Options{Images: refs, NoPush: true, Stdout: &out, Annotations: []string{"b=1", "a=2", "c=3"}})
		if err != nil {
			t.Fatal(err)
		}
		if digest, _, err := v1.SHA256(&out); err != nil || digest.String() != res.Digest {
			t.Errorf("what was printed has digest %s, %v, not %s", digest, err, res.Digest)
		}
		return res.Digest
	}
	first := run(refs...)
	for range 5 {
		if again := run(refs...); again != first {
			t.Fatalf("%s, then %s", first, again)
		}
	}
	if turned := run(refs[1], refs[0]); turned == first {
		t.Error("the order of the references does not matter")
	}
}

// Without a push nothing is changed in any registry, and there is nothing to sign.
func TestNoPush(t *testing.T) {
	s := memory(t)
	ref := s.put(t, "a:1", imageFor(t, "linux/amd64", false))
	dir := t.TempDir()
	var out bytes.Buffer
	res, log, err := join(t, fanin.Options{
		Images: []string{ref}, Tags: []string{s.host + "/x:1"}, NoPush: true, Stdout: &out,
		Results: results.Files{Dir: dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	if m := must[*v1.IndexManifest](t)(v1.ParseIndexManifest(&out)); platformsOf(m) != "linux/amd64" {
		t.Errorf("printed %+v", m)
	}
	if changes := append(append(s.seen("POST", ""), s.seen("PUT", "")...), s.seen("PATCH", "")...); len(changes) != 0 {
		t.Errorf("requests %q", changes)
	}
	if len(res.Pushed) != 0 || !strings.Contains(log, "not pushed") {
		t.Errorf("%+v, log:\n%s", res, log)
	}
	if _, err := os.Stat(filepath.Join(dir, "IMAGE_DIGEST")); !os.IsNotExist(err) {
		t.Errorf("IMAGE_DIGEST was written: %v", err)
	}
}

// Docker's list is for Docker's manifests alone.
func TestMediaType(t *testing.T) {
	s := memory(t)
	docker := s.put(t, "docker:1", imageFor(t, "linux/amd64", true))
	docker2 := s.put(t, "docker:2", imageFor(t, "linux/arm64", true))
	oci := s.put(t, "oci:1", imageFor(t, "linux/s390x", false))
	for name, c := range map[string]struct {
		refs, annotations []string
		want              types.MediaType
	}{
		"docker":           {[]string{docker, docker2}, nil, types.DockerManifestList},
		"mixed":            {[]string{docker, oci}, nil, types.OCIImageIndex},
		"oci":              {[]string{oci}, nil, types.OCIImageIndex},
		"annotated":        {[]string{docker, docker2}, []string{"k=v"}, types.OCIImageIndex},
		"annotated images": {[]string{docker}, []string{"manifest-descriptor:k=v"}, types.OCIImageIndex},
	} {
		t.Run(name, func(t *testing.T) {
			tag := s.host + "/joined:" + strings.ReplaceAll(name, " ", "-")
			m, _, _ := mustJoin(t, fanin.Options{Images: c.refs, Tags: []string{tag}, Annotations: c.annotations})
			if m.MediaType != c.want {
				t.Errorf("got %s", m.MediaType)
			}
			if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, tag)))); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnnotations(t *testing.T) {
	s := memory(t)
	m, _, _ := mustJoin(t, fanin.Options{
		Images: []string{s.put(t, "a:1", imageFor(t, "linux/amd64", false)), s.put(t, "a:2", imageFor(t, "linux/arm64/v8", false))},
		Tags:   []string{s.host + "/app:1"},
		Annotations: []string{
			"org.opencontainers.image.title=app", "index:k=v=w", "index:k=later",
			"manifest-descriptor:all=yes", "manifest-descriptor[linux/arm64]:arm=yes", "index,manifest-descriptor[linux/amd64]:both=b",
		},
	})
	for i, want := range []map[string]string{
		{"all": "yes", "both": "b"},
		{"all": "yes", "arm": "yes"},
		{"org.opencontainers.image.title": "app", "k": "later", "both": "b"},
	} {
		got := m.Annotations
		if i < 2 {
			got = m.Manifests[i].Annotations
		}
		if !equal(got, want) {
			t.Errorf("%d: got %v, want %v", i, got, want)
		}
	}
	_, _, err := join(t, fanin.Options{
		Images: []string{s.host + "/a:1"}, Tags: []string{s.host + "/b:1"}, Annotations: []string{"manifest-descriptor[linux/s390x]:k=v"},
	})
	if err == nil || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("an annotation for nothing: %v", err)
	}
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// withAttestation is an index as BuildKit makes it for one platform: the image, and an attestation
// about it.
func withAttestation(t *testing.T, platform string) (x v1.ImageIndex, image, attestation v1.Image) {
	t.Helper()
	image = imageFor(t, platform, false)
	attestation = imageFor(t, "unknown/unknown", false)
	statement := static(t, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2"}`, "application/vnd.in-toto+json")
	attestation = must[v1.Image](t)(mutate.AppendLayers(attestation, statement))
	x = mutate.IndexMediaType(mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: must[*v1.Platform](t)(v1.ParsePlatform(platform))}},
		mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{
				"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digestOf(t, image),
			},
		}},
	), types.OCIImageIndex)
	return x, image, attestation
}

// Indexes contribute what is in them, attestations with their annotations, also if they lie in
// another index.
func TestIndexesAsInput(t *testing.T) {
	s := memory(t)
	x1, image1, attestation1 := withAttestation(t, "linux/amd64")
	x2, image2, attestation2 := withAttestation(t, "linux/arm64")
	nested := mutate.IndexMediaType(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: x2}), types.OCIImageIndex)
	refs := []string{s.put(t, "a:1", x1), s.put(t, "b:1", nested)}
	to := memory(t)
	m, _, _ := mustJoin(t, fanin.Options{
		Images:      append(refs, refs[0]+"@"+digestOf(t, x1)), // once more is no more
		Tags:        []string{to.host + "/app:1"},
		Platforms:   []string{"linux/amd64", "linux/arm64"},
		Annotations: []string{"manifest-descriptor:k=v"},
	})
	want := []v1.Image{image1, attestation1, image2, attestation2}
	if len(m.Manifests) != len(want) {
		t.Fatalf("entries %+v", m.Manifests)
	}
	for i, img := range want {
		d := m.Manifests[i]
		if d.Digest.String() != digestOf(t, img) {
			t.Errorf("entry %d is %s, want %s", i, d.Digest, digestOf(t, img))
		}
		wantAnnotations := map[string]string{"k": "v"}
		if i%2 == 1 {
			wantAnnotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digestOf(t, want[i-1])}
		}
		if !equal(d.Annotations, wantAnnotations) {
			t.Errorf("entry %d has annotations %v, want %v", i, d.Annotations, wantAnnotations)
		}
		layers := must[[]v1.Layer](t)(must[v1.Image](t)(remote.Image(parse(t, to.host+"/app@"+d.Digest.String()))).Layers())
		for _, l := range layers {
			if err := validate.Layer(l, validate.Fast); err != nil {
				t.Errorf("entry %d: %v", i, err)
			}
		}
	}
}

func TestImagesThatDoNotFit(t *testing.T) {
	s := memory(t)
	amd := s.put(t, "amd:1", imageFor(t, "linux/amd64", false))
	amdAgain := s.put(t, "amd:2", imageFor(t, "linux/amd64", false))
	arm := s.put(t, "arm:1", imageFor(t, "linux/arm64", false))
	armV8 := s.put(t, "arm:2", imageFor(t, "linux/arm64/v8", false))
	nameless := s.put(t, "nameless:1", imageFor(t, "linux", false))
	attestation := s.put(t, "attestation:1", imageFor(t, "unknown/unknown", false))
	nothing := s.put(t, "nothing:1", mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for name, c := range map[string]struct {
		refs, platforms []string
		want            []string // in the message
	}{
		"one platform twice":       {[]string{amd, arm, amdAgain}, nil, []string{amd + " (", amdAgain + " (", "linux/amd64"}},
		"the same, called another": {[]string{arm, armV8}, nil, []string{arm, armV8, "linux/arm64"}},
		"missing":                  {[]string{amd}, []string{"linux/amd64", "linux/arm64", "linux/s390x"}, []string{"none for platform linux/arm64", "none for platform linux/s390x"}},
		"unexpected":               {[]string{amd, arm}, []string{"linux/amd64"}, []string{arm, "linux/arm64, which is not expected"}},
		"both":                     {[]string{amd}, []string{"linux/arm64"}, []string{"linux/amd64, which is not expected", "none for platform linux/arm64"}},
		"another variant":          {[]string{amd}, []string{"linux/amd64/v2"}, []string{"none for platform linux/amd64/v2"}},
		"no platform":              {[]string{nameless}, nil, []string{"nameless@sha256:", "names no platform"}},
		"attestation alone":        {[]string{amd, attestation}, nil, []string{attestation, "no image"}},
		"empty index":              {[]string{amd, nothing}, nil, []string{nothing, "no image"}},
		"not there":                {[]string{amd, s.host + "/amd:9"}, nil, []string{s.host + "/amd:9", "check the spelling"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.forget()
			dir := t.TempDir()
			_, _, err := join(t, fanin.Options{Images: c.refs, Platforms: c.platforms, Tags: []string{s.host + "/app:1"}, Results: results.Files{Dir: dir}})
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
			if puts := s.seen("PUT", ""); len(puts) != 0 {
				t.Errorf("and yet %q", puts)
			}
			if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) != 0 {
				t.Errorf("results were written: %v", left)
			}
		})
	}
}

// Images of several Windows versions are for one platform only at a first glance.
func TestOSVersions(t *testing.T) {
	s := memory(t)
	m, _, _ := mustJoin(t, fanin.Options{
		Images:    []string{s.put(t, "w:1", imageFor(t, "windows/amd64:10.0.17763.1", false)), s.put(t, "w:2", imageFor(t, "windows/amd64:10.0.20348.1", false))},
		Tags:      []string{s.host + "/app:1"},
		Platforms: []string{"windows/amd64"},
	})
	if got := platformsOf(m); got != "windows/amd64:10.0.17763.1 windows/amd64:10.0.20348.1" {
		t.Errorf("platforms %s", got)
	}
	_, _, err := join(t, fanin.Options{
		Images: []string{s.host + "/w:1"}, Tags: []string{s.host + "/app:2"}, Platforms: []string{"windows(10.0.20348.1)/amd64"},
	})
	if err == nil || !strings.Contains(err.Error(), "none for platform windows(10.0.20348.1)/amd64") {
		t.Errorf("got %v", err)
	}
}

func TestRefusedOptions(t *testing.T) {
	good := fanin.Options{Images: []string{"a"}, Tags: []string{"b"}}
	for want, change := range map[string]func(o *fanin.Options){
		"no image to join":           func(o *fanin.Options) { o.Images = nil },
		"image 2 of 3 is empty":      func(o *fanin.Options) { o.Images = []string{"a", "", "b"} },
		"parsing image reference UP": func(o *fanin.Options) { o.Images = []string{"UP"} },
		"go nowhere":                 func(o *fanin.Options) { o.Tags = nil },
		"chosen beforehand":          func(o *fanin.Options) { o.Tags = []string{"b@sha256:" + strings.Repeat("0", 64)} },
		"and not the manifest":       func(o *fanin.Options) { o.Annotations = []string{"manifest:k=v"} },
		"not the index-descriptor":   func(o *fanin.Options) { o.Annotations = []string{"index-descriptor:k=v"} },
		"is not of the form":         func(o *fanin.Options) { o.Annotations = []string{"k"} },
		`platform "a/b/c/d/e"`:       func(o *fanin.Options) { o.Platforms = []string{"a/b/c/d/e"} },
		"must begin with https":      func(o *fanin.Options) { o.Results.DigestFile = "http://a/b" },
	} {
		o := good
		change(&o)
		if _, err := fanin.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := fanin.New(t.Context(), good); err != nil {
		t.Error(err)
	}
}
