// Package results hands the outcome of a build to whoever started it: as Tekton results (and
// Argo output parameters, which are the same files), and as the digest files that Kaniko
// writes.
//
// Values go in, files come out; the package knows images only as strings. Everything is
// written at the end of a build and all or nothing: each value first goes to a temporary
// file in the directory of its destination, then all are renamed into place. No file has a trailing newline
// unless its format is made of lines, because Tekton passes results on verbatim.
package results

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// The results of a build, by the names that Tekton Chains and the catalog's tasks use.
const (
	// ImageURL is the first destination with its tag: "registry.example/app:v1".
	ImageURL = "IMAGE_URL"
	// ImageDigest is the digest of the pushed manifest or index: "sha256:…". Together
	// with ImageURL it makes Tekton Chains sign the image.
	ImageDigest = "IMAGE_DIGEST"
	// ImageRef is ImageURL + "@" + ImageDigest, in one string because a Tekton matrix
	// can collect only strings.
	ImageRef = "IMAGE_REF"
	// Images lists all destinations in the form of ImageRef, separated by commas.
	Images = "IMAGES"

	// ImageArtifactOutputs is an object that tells Tekton Chains of the image, "uri" and "digest", and that the build made
	// it, "isBuildArtifact".
	ImageArtifactOutputs = "IMAGE_ARTIFACT_OUTPUTS"
	// BaseImageArtifactInputs is an object that tells it of the base image, "uri" and "digest".
	BaseImageArtifactInputs = "BASE_IMAGE_ARTIFACT_INPUTS"
	// BaseImages lists all images that the build used, in the form of ImageRef, separated by commas.
	BaseImages = "BASE_IMAGES"

	// SBOMBlobURL is the reference of the blob with the image's bill of materials, "registry.example/app@sha256:…"; several
	// platforms' are separated by commas. It is empty, and declared nevertheless, where there is none: Tekton fails a pipeline that
	// refers to a result nobody wrote.
	SBOMBlobURL = "SBOM_BLOB_URL"

	// ErrorReason is a word for the kind of a failure.
	ErrorReason = "ERROR_REASON"
	// ErrorMessage says what failed, in one line or several.
	ErrorMessage = "ERROR_MESSAGE"
)

// Result is one named value.
type Result struct {
	Name, Value string
}

// Image is what a build delivered.
type Image struct {
	// Destinations are the references that the image was built for, as the user
	// wrote them. One without a tag stands for the tag "latest".
	Destinations []string
	// Digest is the manifest's digest, "sha256:" and 64 hexadecimal digits.
	Digest string
	// Pushed says that every destination names the image in its registry now.
	Pushed bool
}

// Results gives the image's results in the order in which they are written. For an image
// that was not pushed the references are empty and ImageDigest is absent: Tekton Chains
// would try to sign what no registry has. An empty result is still better than none, since
// Tekton fails a pipeline that refers to a result nobody wrote.
func (i Image) Results() ([]Result, error) {
	refs, err := i.references()
	if err != nil {
		return nil, err
	}
	if !i.Pushed {
		return []Result{{ImageURL, ""}, {ImageRef, ""}, {Images, ""}}, nil
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("results: a pushed image has no destination")
	}
	all := make([]string, len(refs))
	for n, r := range refs {
		all[n] = r.written + "@" + i.Digest
	}
	return []Result{
		{ImageURL, refs[0].written},
		{ImageDigest, i.Digest},
		{ImageRef, all[0]},
		{Images, strings.Join(all, ",")},
		{ImageArtifactOutputs, Artifact(refs[0].tag.Context().Name(), i.Digest, true)},
	}, nil
}

// Artifact is the value of a result that is an object about an artifact, in the form of Tekton Chains' type hints.
func Artifact(uri, digest string, built bool) string {
	o := struct {
		URI    string `json:"uri"`
		Digest string `json:"digest"`
		Built  string `json:"isBuildArtifact,omitempty"` // values of objects are strings
	}{URI: uri, Digest: digest}
	if built {
		o.Built = "true"
	}
	data, _ := json.Marshal(o) //nolint:errchkjson // strings alone never fail
	return string(data)
}

// nameDigestLines is the content of Kaniko's --image-name-with-digest-file and, with tags, of
// its --image-name-tag-with-digest-file: one line for each destination.
func (i Image) nameDigestLines(tags bool) (string, error) {
	refs, err := i.references()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range refs {
		b.WriteString(r.tag.Context().Name())
		if tags {
			b.WriteString(":" + r.tag.TagStr())
		}
		b.WriteString("@" + i.Digest + "\n")
	}
	return b.String(), nil
}

// jsonLines is the content of the file "images" of Kaniko's BUILDER_OUTPUT.
func (i Image) jsonLines() (string, error) {
	refs, err := i.references()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range refs {
		line, err := json.Marshal(struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
		}{r.tag.Name(), i.Digest})
		if err != nil {
			return "", err
		}
		b.Write(append(line, '\n'))
	}
	return b.String(), nil
}

// reference is one destination.
type reference struct {
	// written is the destination in the user's spelling, its tag made explicit.
	written string
	// tag has the registry made explicit too, as Kaniko's files spell it.
	tag name.Tag
}

// references checks and parses what the image is called.
func (i Image) references() ([]reference, error) {
	if _, err := name.NewDigest("image@" + i.Digest); err != nil {
		return nil, fmt.Errorf("results: the image's digest: %w", err)
	}
	refs := make([]reference, len(i.Destinations))
	for n, d := range i.Destinations {
		tag, err := name.NewTag(d, name.WeakValidation)
		if err != nil {
			return nil, fmt.Errorf("results: destination %q: %w", d, err)
		}
		if !strings.HasSuffix(d, ":"+tag.TagStr()) {
			d += ":" + tag.TagStr()
		}
		refs[n] = reference{written: d, tag: tag}
	}
	return refs, nil
}
