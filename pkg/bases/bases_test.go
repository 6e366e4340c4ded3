package bases_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/bases"
	"github.com/slipway-build/slipway/pkg/registry"
)

// server is a registry that counts which blobs are fetched from it.
type server struct {
	host  string
	inner http.Handler

	mu    sync.Mutex
	blobs int
	slow  time.Duration // for each blob
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.host = strings.TrimPrefix(h.URL, "http://")
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		s.mu.Lock()
		s.blobs++
		slow := s.slow
		s.mu.Unlock()
		time.Sleep(slow)
	}
	s.inner.ServeHTTP(w, r)
}

// fetched is how many blobs were fetched since the last call.
func (s *server) fetched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.blobs
	s.blobs = 0
	return n
}

// image is one for linux/amd64 with two layers.
func image(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func (s *server) put(t *testing.T, repo string, m remote.Taggable) string {
	t.Helper()
	ref, err := name.ParseReference(s.host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(ref, m); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// warm runs a warming and gives what it said.
func warm(t *testing.T, o bases.Options) (string, error) {
	t.Helper()
	var said bytes.Buffer
	o.Log = &said
	if o.Platforms == nil {
		o.Platforms = []string{"linux/amd64"}
	}
	o.Registry.Retry = registry.Retry{Attempts: 2, Base: time.Millisecond}
	w, err := bases.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Run(t.Context())
	return said.String(), err
}

func mustWarm(t *testing.T, o bases.Options) string {
	t.Helper()
	said, err := warm(t, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return said
}

// wantImages reads a layout with another program's code, and compares the names and digests of its images.
func wantImages(t *testing.T, dir string, want map[string]v1.Image) {
	t.Helper()
	x, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := x.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != len(want) {
		t.Errorf("there are %d images, want %d", len(m.Manifests), len(want))
	}
	for _, d := range m.Manifests {
		ref := d.Annotations["org.opencontainers.image.ref.name"]
		if want[ref] == nil {
			t.Errorf("there is an image %q", ref)
			continue
		}
		digest, err := want[ref].Digest()
		if err != nil || d.Digest != digest {
			t.Errorf("%s is %s, want %s, %v", ref, d.Digest, digest, err)
		}
		img, err := x.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/.*")); err != nil || left != nil {
		t.Errorf("temporary files are left: %q, %v", left, err)
	}
}

func TestImagesOfFlagsAndDockerfile(t *testing.T) {
	s, dir := serve(t), filepath.Join(t.TempDir(), "not/there/yet")
	images := map[string]v1.Image{}
	for _, repo := range []string{"a:1", "b:2", "c:latest"} {
		img := image(t)
		images[s.put(t, repo, img)] = img
	}
	context := t.TempDir()
	content := fmt.Sprintf("ARG V=none\nFROM %s/b:$V AS build\nFROM build\nFROM scratch\nFROM %s/c\n", s.host, s.host)
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	said := mustWarm(t, bases.Options{Images: []string{s.host + "/a:1"}, Dockerfile: "Dockerfile", Context: context, BuildArgs: map[string]string{"V": "2"}, Dir: dir})
	wantImages(t, dir, images)
	if strings.Count(said, "\n") != 3 || strings.Count(said, ", fetched ") != 3 {
		t.Errorf("it said:\n%s", said)
	}
}

// Builds take other things in place of what a Dockerfile names.
func TestBuildContexts(t *testing.T) {
	s, dir := serve(t), t.TempDir()
	images := map[string]v1.Image{}
	for _, repo := range []string{"a:1", "b:2", "c:3"} {
		img := image(t)
		images[s.put(t, repo, img)] = img
	}
	dockerfile := filepath.Join(t.TempDir(), "Dockerfile")
	content := fmt.Sprintf("FROM base\nCOPY --from=lib / /lib/\nCOPY --from=%s/b:2 / /b/\nRUN --mount=from=%s/none:latest,target=/n true\nCOPY --from=tools:1 / /t/\n", s.host, s.host)
	if err := os.WriteFile(dockerfile, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	said := mustWarm(t, bases.Options{Dockerfile: dockerfile, Dir: dir, BuildContexts: map[string]string{
		"docker.io/library/base:latest": "docker-image://" + s.host + "/a:1", "lib": "../lib", s.host + "/none": "oci-layout:///layout",
		"tools:1::linux/amd64": "docker-image://" + s.host + "/c:3", s.host + "/b:2::linux/arm64": "../b",
	}})
	wantImages(t, dir, images)
	if strings.Count(said, "\n") != 3 {
		t.Errorf("it said:\n%s", said)
	}
}

func TestWhatIsThereIsNotFetchedAgain(t *testing.T) {
	old := time.Now().Add(-3 * time.Hour)
	for _, test := range []struct {
		name string
		// change does something to a blob that was fetched.
		change func(t *testing.T, blob string)
		o      bases.Options
		want   int // of three blobs
	}{
		{name: "nothing changed", want: 0},
		{name: "forced", o: bases.Options{Force: true}, want: 3},
		{name: "old", change: aged(old), o: bases.Options{TTL: time.Hour}, want: 3},
		{name: "young enough", change: aged(old), o: bases.Options{TTL: 4 * time.Hour}, want: 0},
		{name: "old, and that is all right", change: aged(old), want: 0},
		{name: "damaged", change: overwritten, want: 3},
		{name: "truncated", change: truncated, want: 3},
		{name: "removed", change: removed, want: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, dir := serve(t), t.TempDir()
			img := image(t)
			ref := s.put(t, "a:1", img)
			test.o.Images, test.o.Dir = []string{ref}, dir
			mustWarm(t, bases.Options{Images: []string{ref}, Dir: dir})
			if n := s.fetched(); n != 3 {
				t.Fatalf("%d blobs were fetched first", n)
			}
			if test.change != nil {
				blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
				if err != nil || len(blobs) != 4 {
					t.Fatalf("there are %d blobs, %v", len(blobs), err)
				}
				for _, b := range blobs {
					test.change(t, b)
				}
			}
			said := mustWarm(t, test.o)
			if n := s.fetched(); n != test.want {
				t.Errorf("%d blobs were fetched, want %d", n, test.want)
			}
			if got := strings.Contains(said, " is there"); got != (test.want == 0) {
				t.Errorf("it said %q", said)
			}
			wantImages(t, dir, map[string]v1.Image{ref: img})
		})
	}
}

func aged(at time.Time) func(*testing.T, string) {
	return func(t *testing.T, blob string) {
		t.Helper()
		if err := os.Chtimes(blob, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func overwritten(t *testing.T, blob string) {
	t.Helper()
	content, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	content[0] ^= 1
	if err := os.WriteFile(blob, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncated(t *testing.T, blob string) {
	t.Helper()
	if err := os.Truncate(blob, 10); err != nil {
		t.Fatal(err)
	}
}

func removed(t *testing.T, blob string) {
	t.Helper()
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
}

func TestMovedTagIsNamedAnew(t *testing.T) {
	s, dir := serve(t), t.TempDir()
	other := image(t)
	names := map[string]v1.Image{s.put(t, "b:1", other): other}
	ref := s.put(t, "a:1", image(t))
	mustWarm(t, bases.Options{Images: []string{ref, s.host + "/b:1"}, Dir: dir})
	names[ref] = image(t)
	s.put(t, "a:1", names[ref])
	mustWarm(t, bases.Options{Images: []string{ref}, Dir: dir})
	wantImages(t, dir, names)
}

func TestFailures(t *testing.T) {
	s, dir := serve(t), t.TempDir()
	img := image(t)
	ref := s.put(t, "a:1", img)
	none, nothing := s.host+"/none:1", s.host+"/nothing:1"

	said, err := warm(t, bases.Options{Images: []string{none, ref, nothing}, Dir: dir})
	if err != nil {
		t.Errorf("one image of three was fetched, and there is an error: %v", err)
	}
	for _, want := range []string{none + " for linux/amd64: fetching image", nothing + " for linux/amd64: fetching image", "2 of 3 base images could not be fetched"} {
		if !strings.Contains(said, want) {
			t.Errorf("it did not say %q:\n%s", want, said)
		}
	}
	wantImages(t, dir, map[string]v1.Image{ref: img})

	said, err = warm(t, bases.Options{Images: []string{none, nothing}, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "none of 2 base images") || strings.Count(said, ": fetching image") != 2 {
		t.Errorf("nothing was fetched: %v\n%s", err, said)
	}
	if _, err = warm(t, bases.Options{Images: []string{ref}, Platforms: []string{"linux/amd64", "linux/s390x"}, Dir: dir}); err != nil {
		// An image that is no index is taken for any platform, as builds do.
		t.Errorf("an image for any platform: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for want, o := range map[string]bases.Options{
		"there is nothing to fetch": {},
		`platform "x/y/z/a"`:        {Images: []string{"a"}, Platforms: []string{"x/y/z/a"}},
		`build context "A"`:         {Images: []string{"a"}, BuildContexts: map[string]string{"A": "."}},
	} {
		if _, err := bases.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	dir := t.TempDir()
	for want, o := range map[string]bases.Options{
		"reading the Dockerfile":     {Dockerfile: filepath.Join(dir, "none"), Dir: dir},
		"directory of base images /": {Images: []string{"a"}, Dir: "/dev/null/x"},
	} {
		if said, err := warm(t, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q\n%s", err, want, said)
		}
	}
}

// Several warmers fill one directory with images that share nothing, something and everything.
func TestWarmersAtOnce(t *testing.T) {
	s, dir := serve(t), t.TempDir()
	s.slow = 5 * time.Millisecond
	images := map[string]v1.Image{}
	shared := image(t)
	for n := range 6 {
		img := shared
		if n%2 == 0 {
			img = image(t)
		}
		images[s.put(t, fmt.Sprintf("a:%d", n), img)] = img
	}
	var refs []string
	for ref := range images {
		refs = append(refs, ref)
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			some := slices.Concat(refs[n:], refs[:1])
			if said, err := warm(t, bases.Options{Images: some, Dir: dir, Force: n == 3}); err != nil || strings.Contains(said, "fetching image") {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
	wg.Wait()
	wantImages(t, dir, images)
}

// What a killed warmer left is removed, but not what another may be writing.
func TestLeftovers(t *testing.T) {
	s, dir := serve(t), t.TempDir()
	ref := s.put(t, "a:1", image(t))
	mustWarm(t, bases.Options{Images: []string{ref}, Dir: dir})
	old, young := filepath.Join(dir, "blobs/sha256/.slipway-old"), filepath.Join(dir, "blobs/sha256/.slipway-young")
	for _, f := range []string{old, young} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	aged(time.Now().Add(-25*time.Hour))(t, old)
	mustWarm(t, bases.Options{Images: []string{ref}, Dir: dir})
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
