package output_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/output"
)

// attested is an image for platforms, with two statements about each.
func attested(t *testing.T, layers []layer.Layer, platforms ...v1.Platform) (plain, b *image.Built) {
	t.Helper()
	plain = simple(t, layers, platforms...)
	var all [][]image.Statement
	for _, p := range platforms {
		all = append(all, []image.Statement{
			{Name: "provenance.json", PredicateType: "https://slsa.dev/provenance/v1", Content: []byte(`{"about":"` + p.String() + `"}`)},
			{Name: "sbom.spdx.json", PredicateType: "https://spdx.dev/Document", Content: []byte(`{"bill":"` + p.String() + `"}`)},
		})
	}
	return plain, must[*image.Built](t)(plain.Attest(all))
}

func oneFile(t *testing.T) []layer.Layer {
	t.Helper()
	return []layer.Layer{layerOf(t, file("f", "content"))}
}

// checkAttested checks an index of attested images as anybody can read it.
func checkAttested(t *testing.T, x v1.ImageIndex, plain *image.Built) {
	t.Helper()
	m := must[*v1.IndexManifest](t)(x.IndexManifest())
	images := plain.Images()
	if len(m.Manifests) != 2*len(images) {
		t.Fatalf("the index has %d manifests for %d images", len(m.Manifests), len(images))
	}
	for i, img := range images {
		about, said := m.Manifests[i], m.Manifests[len(images)+i]
		if digest := must[v1.Hash](t)(img.Digest()); about.Digest != digest || about.Platform.String() != img.Platform().String() {
			t.Errorf("manifest %d is %+v, the image was %s", i, about, digest)
		}
		if !maps.Equal(said.Annotations, map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about.Digest.String()}) ||
			said.Platform.String() != "unknown/unknown" {
			t.Errorf("the attestation is described by %+v", said)
		}
		a := must[v1.Image](t)(x.Image(said.Digest))
		var raw struct {
			ArtifactType string        `json:"artifactType"`
			Config       v1.Descriptor `json:"config"`
			Subject      v1.Descriptor `json:"subject"`
		}
		if err := json.Unmarshal(must[[]byte](t)(a.RawManifest()), &raw); err != nil {
			t.Fatal(err)
		}
		if raw.ArtifactType != "application/vnd.docker.attestation.manifest.v1+json" || raw.Config.MediaType != "application/vnd.oci.empty.v1+json" ||
			raw.Subject.Digest != about.Digest || raw.Subject.Size != about.Size || raw.Subject.MediaType != about.MediaType {
			t.Errorf("the attestation is %+v, about %+v", raw, about)
		}
		var types []string
		for _, l := range must[*v1.Manifest](t)(a.Manifest()).Layers {
			types = append(types, l.Annotations["in-toto.io/predicate-type"])
			if l.MediaType != "application/vnd.in-toto+json" {
				t.Errorf("a statement has the type %s", l.MediaType)
			}
		}
		if strings.Join(types, " ") != "https://slsa.dev/provenance/v1 https://spdx.dev/Document" {
			t.Errorf("statements are of the types %s", types)
		}
	}
}

// An attested image is pushed with what is said about it, also to a registry without OCI 1.1.
func TestPushAttested(t *testing.T) {
	for name1, host := range map[string]string{"in this process": serve(t).host, "Debian's": distribution.Serve(t).Host} {
		t.Run(name1, func(t *testing.T) {
			plain, b := attested(t, oneFile(t), amd64, arm)
			o := must[*output.Registry](t)(output.NewRegistry(newClient(t), []string{host + "/app:1"}, false))
			if _, err := write(t, o, b); err != nil {
				t.Fatal(err)
			}
			ref := must[name.Reference](t)(name.ParseReference(host + "/app:1"))
			checkAttested(t, must[v1.ImageIndex](t)(remote.Index(ref)), plain)
			skopeo(t, "copy", "--all", "--src-tls-verify=false", "docker://"+ref.String(), "dir:"+t.TempDir())
		})
	}
}

// A layout has them, too, for one platform as for several.
func TestAttestedLayout(t *testing.T) {
	for _, platforms := range [][]v1.Platform{{amd64}, {amd64, arm}} {
		plain, b := attested(t, oneFile(t), platforms...)
		dir := filepath.Join(t.TempDir(), "layout")
		if _, err := write(t, must[output.Output](t)(output.NewLayout(dir, []string{"app:1"})), b); err != nil {
			t.Fatal(err)
		}
		top := must[v1.ImageIndex](t)(layout.ImageIndexFromPath(dir))
		checkAttested(t, must[v1.ImageIndex](t)(top.ImageIndex(b.Digest())), plain)
		skopeo(t, "copy", "--all", "oci:"+dir+":1", "dir:"+t.TempDir())
	}
}

// Where plain files are written, statements are files beside them.
func TestStatementsAsFiles(t *testing.T) {
	together := false
	for name, c := range map[string]struct {
		layers    []layer.Layer
		platforms []v1.Platform
		split     *bool
		want      string
	}{
		"one platform":     {oneFile(t), []v1.Platform{amd64}, nil, "f provenance.json sbom.spdx.json"},
		"several":          {oneFile(t), []v1.Platform{amd64, arm}, nil, "linux_amd64 linux_amd64/f linux_amd64/provenance.json linux_amd64/sbom.spdx.json linux_arm_v7 linux_arm_v7/f linux_arm_v7/provenance.json linux_arm_v7/sbom.spdx.json"},
		"several together": {nil, []v1.Platform{amd64, arm}, &together, "provenance.linux_amd64.json provenance.linux_arm_v7.json sbom.spdx.linux_amd64.json sbom.spdx.linux_arm_v7.json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, b := attested(t, c.layers, c.platforms...)
			dir := t.TempDir()
			if _, err := write(t, output.NewLocal(dir, c.split), b); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(list(t, dir))), " "); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	plain := simple(t, []layer.Layer{layerOf(t, file("provenance.json", "the image's own"))}, amd64)
	b := must[*image.Built](t)(plain.Attest([][]image.Statement{{{Name: "provenance.json", Content: []byte("{}")}}}))
	if _, err := write(t, output.NewLocal(t.TempDir(), nil), b); err == nil || !strings.Contains(err.Error(), "/provenance.json") {
		t.Errorf("the image's own file: error %v", err)
	}
}

// Docker's media types have no attestations.
func TestAttestationsNeedOCI(t *testing.T) {
	spec := image.Spec{Platforms: []image.Platform{{Platform: amd64, Tree: simple(t, nil, amd64).Images()[0].Tree()}}}
	spec.Docker = true
	if _, err := build(t, spec).Attest([][]image.Statement{{{Name: "x"}}}); err == nil || !strings.Contains(err.Error(), "OCI") {
		t.Errorf("error %v", err)
	}
	if _, err := app(t).Attest(nil); err == nil {
		t.Error("no error for statements that are about nothing")
	}
}
