package tekton_test

import (
	"archive/tar"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// pushed checks that the results name what the registry has, under IMAGE and each of the further tags, and gives its
// descriptor.
func (o outcome) pushed(t *testing.T, image string, tags []string, options ...remote.Option) *remote.Descriptor {
	t.Helper()
	options = append(options, remote.WithContext(t.Context()))
	var all []string
	for _, tag := range append([]string{image}, tags...) {
		tag = fill(tag, o.registry)
		head, err := remote.Head(reference(t, tag), options...)
		if err != nil {
			t.Fatal(err)
		}
		if digest := head.Digest.String(); digest != o.results["IMAGE_DIGEST"] {
			t.Errorf("%s is %s, IMAGE_DIGEST is %q", tag, digest, o.results["IMAGE_DIGEST"])
		}
		all = append(all, tag+"@"+head.Digest.String())
	}
	url, _, _ := strings.Cut(all[0], "@")
	for name, want := range map[string]string{
		"IMAGE_URL": url, "IMAGE_REF": all[0], "IMAGES": strings.Join(all, ","),
	} {
		if got, ok := o.results[name]; !ok || got != want {
			t.Errorf("%s is %q (there: %v), want %q", name, got, ok, want)
		}
	}
	if _, built := o.results["BASE_IMAGES"]; built { // and not joined
		checkObject(t, o.results["IMAGE_ARTIFACT_OUTPUTS"], map[string]string{
			"uri": reference(t, url).Context().Name(), "digest": o.results["IMAGE_DIGEST"], "isBuildArtifact": "true",
		})
	}
	if _, ok := o.results["SBOM_BLOB_URL"]; !ok {
		t.Error("there is no result SBOM_BLOB_URL")
	}
	descriptor, err := remote.Get(reference(t, o.results["IMAGE_REF"]), options...)
	if err != nil {
		t.Fatal(err)
	}
	return descriptor
}

func reference(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// notPushed checks that the registry has nothing in a repository.
func (o outcome) notPushed(t *testing.T, image string) {
	t.Helper()
	if _, err := remote.Head(reference(t, fill(image, o.registry)), remote.WithContext(t.Context())); err == nil {
		t.Errorf("%s is in the registry", image)
	}
}

func imageOf(t *testing.T, d *remote.Descriptor) v1.Image {
	t.Helper()
	image, err := d.Image()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	return image
}

func configOf(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// file is a file of an image.
type file struct {
	*tar.Header

	content string
}

// filesOf reads an image's files, as a container would see them.
func filesOf(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	r := mutate.Extract(image)
	defer r.Close()
	files := map[string]file{}
	for tr := tar.NewReader(r); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(strings.TrimPrefix(header.Name, "/"), "/")] = file{header, string(content)}
	}
}

// checkContents compares the contents of some files.
func checkContents(t *testing.T, files map[string]file, want map[string]string) {
	t.Helper()
	for name, content := range want {
		f, ok := files[name]
		switch {
		case !ok:
			t.Errorf("the image has no file %s", name)
		case f.content != content:
			t.Errorf("%s holds %q, want %q", name, f.content, content)
		}
	}
}
