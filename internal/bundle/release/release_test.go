package release_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"go.yaml.in/yaml/v3"

	"github.com/slipway-build/slipway/internal/bundle"
	"github.com/slipway-build/slipway/internal/bundle/release"
	"github.com/slipway-build/slipway/internal/testbase"
)

const top = "../../.."

func definitions(t *testing.T) []*bundle.Definition {
	t.Helper()
	all, err := bundle.Load(os.DirFS(top))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// written makes the files of a release and gives their content.
func written(t *testing.T) map[string][]byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "dist")
	if err := release.Write(os.DirFS(top), dir); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// A catalog downloads catalog.yaml and the archive, takes the entries that the former names, and
// compares checksums.
func TestCatalogFetches(t *testing.T) {
	files := written(t)
	type entry struct{ Name, Version, Filename, Checksum string }
	var catalog struct {
		Version string
		Catalog struct {
			Repository  struct{ Description string }
			Attestation struct{ PublicKey string }
			Resources   struct{ Tasks, Pipelines, StepActions []entry }
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(files[release.CatalogFile]))
	d.KnownFields(false)
	if err := d.Decode(&catalog); err != nil {
		t.Fatal(err)
	}
	if catalog.Version != "v1" || catalog.Catalog.Repository.Description == "" || !bytes.Contains(files[release.CatalogFile], []byte("publickey:")) {
		t.Errorf("catalog %+v", catalog)
	}
	archive := untar(t, files[release.ArchiveFile])
	fetched := 0
	for kind, entries := range map[bundle.Kind][]entry{
		bundle.Task: catalog.Catalog.Resources.Tasks, bundle.Pipeline: catalog.Catalog.Resources.Pipelines,
		bundle.StepAction: catalog.Catalog.Resources.StepActions,
	} {
		for _, e := range entries {
			fetched++
			data, ok := archive[e.Filename]
			if !ok {
				t.Errorf("the archive has no %s", e.Filename)
			}
			if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != e.Checksum {
				t.Errorf("%s has the checksum %s, the catalog says %s", e.Filename, got, e.Checksum)
			}
			if want := kind.Plural() + "/" + e.Name + "/" + e.Name + ".yaml"; e.Filename != want {
				t.Errorf("%s, want %s", e.Filename, want)
			}
			if len(archive[path.Dir(e.Filename)+"/README.md"]) == 0 {
				t.Errorf("the archive has no README beside %s", e.Filename)
			}
		}
	}
	if want := len(definitions(t)); fetched != want || len(archive) != 2*want {
		t.Errorf("%d entries and %d files for %d definitions", fetched, len(archive), want)
	}
}

func untar(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s tells who made it, or when: %+v", h.Name, h)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChecksums(t *testing.T) {
	lines := bufio.NewScanner(bytes.NewReader(written(t)[release.ChecksumsFile]))
	n := 0
	for ; lines.Scan(); n++ {
		sum, file, _ := strings.Cut(lines.Text(), "  ")
		data, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
			t.Errorf("%s: %s, want %s", file, sum, got)
		}
	}
	if n != len(definitions(t)) {
		t.Errorf("%d lines", n)
	}
}

func TestSameBytesEachTime(t *testing.T) {
	a, b := written(t), written(t)
	if len(a) != 3 {
		t.Errorf("%d files, want 3", len(a))
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s differs from one time to the next", name)
		}
	}
	var digests []v1.Hash
	for range 2 {
		img, err := release.Image(definitions(t))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("the bundle is %s, then %s", digests[0], digests[1])
	}
}

func TestWriteRefusesOldCatalog(t *testing.T) {
	repository := fstest.MapFS{
		"task/a/a.yaml": {Data: []byte("kind: Task\nmetadata: {name: a, labels: {app.kubernetes.io/version: 1.0.0}}\n")},
		"catalog.yaml":  {Data: []byte("version: v1\n")},
	}
	dir := t.TempDir()
	if err := release.Write(repository, dir); err == nil || !strings.Contains(err.Error(), "make generate") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("wrote %v", entries)
	}
}

// What Tekton's resolver does with a bundle: it looks for the layer whose annotations fit and reads the
// first file of its tar.
func TestPushedBundleResolves(t *testing.T) {
	server, err := testbase.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	all := definitions(t)
	img, err := release.Image(all)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := release.Push(t.Context(), img, server.Host+"/team/bundle:v1")
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(pushed)
	if err != nil {
		t.Fatal(err)
	}
	fetched, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(fetched); err != nil {
		t.Error(err)
	}
	manifest, err := fetched.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != len(all) {
		t.Fatalf("%d layers for %d definitions", len(manifest.Layers), len(all))
	}
	for _, d := range all {
		found := 0
		for _, desc := range manifest.Layers {
			a := desc.Annotations
			if a["dev.tekton.image.kind"] != strings.ToLower(string(d.Kind)) || a["dev.tekton.image.name"] != d.Name {
				continue
			}
			found++
			if got := "tekton.dev/" + a["dev.tekton.image.apiVersion"]; got != d.APIVersion {
				t.Errorf("%s has the version %s, want %s", d.Path, got, d.APIVersion)
			}
			layer, err := fetched.LayerByDigest(desc.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got := onlyFile(t, layer); !bytes.Equal(got, d.Data) {
				t.Errorf("%s differs in the bundle:\n%s", d.Path, got)
			}
		}
		if found != 1 {
			t.Errorf("%s is %d times in the bundle", d.Path, found)
		}
	}
}

func onlyFile(t *testing.T, layer v1.Layer) []byte {
	t.Helper()
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := tar.NewReader(r)
	if _, err := files.Next(); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("a second file, or %v", err)
	}
	return data
}

func TestLayout(t *testing.T) {
	img, err := release.Image(definitions(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "bundle")
	for range 2 { // the second time over the first one
		if err := release.WriteLayout(img, dir); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != want {
		t.Errorf("index %+v, want %s in it", manifest, want)
	}
}

func TestImageLimits(t *testing.T) {
	one := definitions(t)[0]
	for n, fits := range map[int]bool{0: false, 1: true, 20: true, 21: false} {
		var many []*bundle.Definition
		for i := range n {
			d := *one
			d.Name = fmt.Sprintf("task-%d", i)
			many = append(many, &d)
		}
		if _, err := release.Image(many); (err == nil) != fits {
			t.Errorf("%d definitions: %v", n, err)
		}
	}
}

func TestPushFails(t *testing.T) {
	img, err := release.Image(definitions(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"", "registry.example.com/UPPER", "127.0.0.1:1/nobody/listens:v1"} {
		if pushed, err := release.Push(t.Context(), img, ref); err == nil {
			t.Errorf("%q: pushed %s", ref, pushed)
		}
	}
}
