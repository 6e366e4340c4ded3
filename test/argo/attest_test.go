package argo

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/test/pod"
)

// statement is what is read of an attestation.
type statement struct {
	PredicateType string `json:"predicateType"`
	Predicate     struct {
		BuildDefinition struct {
			InternalParameters struct {
				Run      map[string]string `json:"run"`
				Hermetic bool              `json:"hermetic"`
			} `json:"internalParameters"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Metadata struct {
				InvocationID string `json:"invocationId"`
				Buildkit     struct {
					VCS map[string]string `json:"vcs"`
				} `json:"buildkit_metadata"`
			} `json:"metadata"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

// attestationsOf are the statements in an index, by the digests of their blobs.
func attestationsOf(t *testing.T, reference string) map[string]statement {
	t.Helper()
	index, err := descriptorOf(t, reference).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]statement{}
	for _, m := range manifest.Manifests {
		if m.Platform.OS != "unknown" {
			continue
		}
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			digest, said := statementIn(t, l)
			all[digest] = said
		}
	}
	return all
}

func statementIn(t *testing.T, l v1.Layer) (digest string, s statement) {
	t.Helper()
	hash, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return hash.String(), s
}

// What is attested is in the index, and tells of which workflow and of which commit the build is.
func TestAttestations(t *testing.T) {
	for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
		t.Run(shape.Name, func(t *testing.T) {
			registry := serveRegistry(t)
			image := registry + "/team/app:v1"
			commit := strings.Repeat("0123", 10)
			arguments := argumentsOf(map[string]string{
				"image": image, "provenance": "mode=min", "sbom": "true", "vcs-source": "https://git.example.com/team/app.git", "vcs-revision": commit,
			}, archive(t, map[string]string{"Dockerfile": "FROM " + registry + "/base:1\nRUN touch /made\n"}))
			o := node{shape: shape}.run(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)))
			if o.exitCode != 0 {
				t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
			}
			if got, want := o.outputs["base-images"], baseOf(t, registry); got != want {
				t.Errorf("base-images is %q, want %q", got, want)
			}
			found := attestationsOf(t, image)
			var kinds []string
			for digest, s := range found {
				kinds = append(kinds, s.PredicateType)
				if s.PredicateType == "https://spdx.dev/Document" {
					if want := registry + "/team/app@" + digest; o.outputs["sbom-blob-url"] != want {
						t.Errorf("sbom-blob-url is %q, want %q", o.outputs["sbom-blob-url"], want)
					}
					continue
				}
				run := map[string]string{"workflow": workflowName, "workflowUid": workflowUID, "namespace": namespace, "pod": podName, "uid": podUID}
				if got := s.Predicate.BuildDefinition.InternalParameters.Run; !maps.Equal(got, run) {
					t.Errorf("the build ran as %v, want %v", got, run)
				}
				details := s.Predicate.RunDetails.Metadata
				if details.InvocationID != podUID {
					t.Errorf("the invocation is %q", details.InvocationID)
				}
				if vcs := details.Buildkit.VCS; vcs["source"] != "https://git.example.com/team/app.git" || vcs["revision"] != commit {
					t.Errorf("the source is %v", vcs)
				}
			}
			slices.Sort(kinds)
			if want := []string{"https://slsa.dev/provenance/v1", "https://spdx.dev/Document"}; !slices.Equal(kinds, want) {
				t.Errorf("the statements are %q, want %q", kinds, want)
			}
		})
	}
}

// A hermetic RUN has no network, which takes namespaces: where there are none, it is refused. What is not pinned always is.
func TestHermetic(t *testing.T) {
	registry := serveRegistry(t)
	pinned := baseOf(t, registry)
	const run = "RUN tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > /interfaces\n"
	for _, test := range []struct {
		name, dockerfile string
		shape            pod.Shape
		exitCode         int
		reason           string
	}{
		{"namespaces", "FROM " + pinned + "\n" + run, pod.Default(), 0, ""},
		{"no namespaces", "FROM " + pinned + "\n" + run, pod.Baseline(), 77, "IsolationUnavailable"},
		{"no namespaces needed", "FROM " + pinned + "\nCOPY Dockerfile /interfaces\n", pod.Baseline(), 0, ""},
		{"a tag", "FROM " + registry + "/base:1\n" + run, pod.Default(), 1, "PolicyDenied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			image := registry + "/team/" + strings.ReplaceAll(test.name, " ", "-") + ":v1"
			arguments := argumentsOf(map[string]string{"image": image, "hermetic": "true", "provenance": "true"}, archive(t, map[string]string{"Dockerfile": test.dockerfile, "more": ""}))
			o := node{shape: test.shape}.run(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)))
			if o.exitCode != test.exitCode || o.outputs["error-reason"] != test.reason {
				t.Fatalf("exit code %d, outputs %v\n%s", o.exitCode, o.outputs, o.log)
			}
			if test.exitCode != 0 {
				return
			}
			for _, s := range attestationsOf(t, image) {
				if !s.Predicate.BuildDefinition.InternalParameters.Hermetic {
					t.Error("the provenance does not say it")
				}
			}
			if test.shape.RuntimeDefault {
				return
			}
			if got := filesOf(t, imageOf(t, image))["interfaces"]; got != "lo\n" {
				t.Errorf("RUN had the interfaces %q", got)
			}
		})
	}
}
