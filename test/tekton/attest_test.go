package tekton_test

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
)

// keyPair is the key of all examples, which are there before their tests.
var keyPair = sync.OnceValues(cosigned.GenerateKeyPair)

// signingSecret is what the Secret of the workspace signing has for a key.
func signingSecret() map[string]string {
	pair, err := keyPair()
	if err != nil {
		return map[string]string{"error": err.Error()} // with which nothing can be signed
	}
	return maps.Clone(pair.Files)
}

func attestExamples() []example {
	source := map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nCOPY file /\n", "file": "text\n"}
	of := func(params map[string]any) build {
		all := map[string]any{"IMAGE": image}
		maps.Copy(all, params)
		return build{params: all, source: source, workspaces: map[string]map[string]string{"signing": signingSecret()}}
	}
	return []example{
		{
			"attested and signed", once(), of(map[string]any{
				"PROVENANCE": "mode=max", "SBOM": "format=both", "ATTEST_STORAGE": "both", "SIGN": "key", "SIGN_FORMAT": "signature", "SIGN_ANNOTATIONS": []string{"commit=1a2b"},
				"VCS_SOURCE": "https://example.com/app.git", "VCS_REVISION": "0123456789",
			}),
			func(t *testing.T, o outcome) {
				checkAttested(t, o)
				checkSigned(t, o, false, "commit", "1a2b")
			},
		},
		{
			"bundles", once(), of(map[string]any{"PROVENANCE": "true", "ATTEST_STORAGE": "cosign", "SIGN": "key", "SIGN_FORMAT": "bundle"}),
			func(t *testing.T, o outcome) {
				if digests := digestsOf(t, o); len(digests) != 1 {
					t.Errorf("%v: the image should be one manifest", digests)
				}
				checkSigned(t, o, true)
			},
		},
		{
			"further flags for attestations", once(), build{
				params: map[string]any{"IMAGE": image, "EXTRA_ARGS": []string{
					"--attest=type=provenance,mode=min", "--provenance-env-dir=/workspace/source/facts",
					"--sign-key=/workspace/secrets", "--sign-annotation=team=a", "--tlog=false",
				}, "SIGN": "key"},
				source:     map[string]string{"Dockerfile": scratch, "file": "", "facts/cluster.json": `{"cluster": "test"}`},
				workspaces: map[string]map[string]string{"secrets": signingSecret()},
			},
			func(t *testing.T, o outcome) {
				said := statements(t, o)["https://slsa.dev/provenance/v1"]
				if !strings.Contains(said, `"cluster":"test"`) || strings.Contains(said, "llbDefinition") {
					t.Errorf("the provenance is %s", said)
				}
				checkSigned(t, o, false, "team", "a")
			},
		},
	}
}

// digestsOf are the digests of what was pushed: of an index and the images in it, or of an image.
func digestsOf(t *testing.T, o outcome) []name.Digest {
	t.Helper()
	pushed := o.pushed(t, image, nil)
	repo := reference(t, fill(image, o.registry)).Context()
	all := []name.Digest{repo.Digest(pushed.Digest.String())}
	if !pushed.MediaType.IsIndex() {
		return all
	}
	index, err := pushed.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Platform.OS != "unknown" {
			all = append(all, repo.Digest(d.Digest.String()))
		}
	}
	return all
}

// statements are those in the index, by type.
func statements(t *testing.T, o outcome) map[string]string {
	t.Helper()
	pushed := o.pushed(t, image, nil)
	index, err := pushed.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, d := range m.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			continue
		}
		holder, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		held, err := holder.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range held.Layers {
			all[l.Annotations["in-toto.io/predicate-type"]] = blobOf(t, reference(t, fill(image, o.registry)).Context().Digest(l.Digest.String()))
		}
	}
	return all
}

func blobOf(t *testing.T, ref name.Digest) string {
	t.Helper()
	blob, err := remote.Layer(ref)
	if err != nil {
		t.Fatal(err)
	}
	r, err := blob.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkAttested checks what is said about the image, and the results about that.
func checkAttested(t *testing.T, o outcome) {
	t.Helper()
	said := statements(t, o)
	types := slices.Sorted(maps.Keys(said))
	if want := []string{"https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"}; !slices.Equal(types, want) {
		t.Errorf("said is %q", types)
	}
	for _, want := range []string{`"taskRun":"`, `"namespace":"`, `"source":"https://example.com/app.git"`, `"revision":"0123456789"`} {
		if !strings.Contains(said["https://slsa.dev/provenance/v1"], want) {
			t.Errorf("the provenance has no %s: %s", want, said["https://slsa.dev/provenance/v1"])
		}
	}
	bom, ok := strings.CutPrefix(o.results["SBOM_BLOB_URL"], fill("REGISTRY/team/app@", o.registry))
	if !ok || blobOf(t, reference(t, fill(image, o.registry)).Context().Digest(bom)) != said["https://spdx.dev/Document"] {
		t.Errorf("SBOM_BLOB_URL is %s", o.results["SBOM_BLOB_URL"])
	}
	base, err := shared.base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, o.results["BASE_IMAGE_ARTIFACT_INPUTS"], map[string]string{"uri": fill("REGISTRY/base", o.registry), "digest": base.String()})
	if got, want := o.results["BASE_IMAGES"], fill("REGISTRY/base:1@", o.registry)+base.String(); got != want {
		t.Errorf("BASE_IMAGES is %s, want %s", got, want)
	}
}

// checkObject checks a result that is an object.
func checkObject(t *testing.T, got string, want map[string]string) {
	t.Helper()
	var fields map[string]string
	if err := json.Unmarshal([]byte(got), &fields); err != nil || !maps.Equal(fields, want) {
		t.Errorf("got %s, %v, want %v", got, err, want)
	}
}

// checkSigned verifies, by cosign's library, signatures of all that was pushed and of what is said about it.
// annotations are keys and values that are signed, too.
func checkSigned(t *testing.T, o outcome, bundle bool, annotations ...string) {
	t.Helper()
	pair, err := keyPair()
	if err != nil {
		t.Fatal(err)
	}
	signed := map[string]any{}
	for i := 0; i < len(annotations); i += 2 {
		signed[annotations[i]] = annotations[i+1]
	}
	checkSignatures(t, o, cosign.CheckOpts{
		SigVerifier: pair.Verifier, IgnoreTlog: true, Offline: true, TrustedMaterial: &root.BaseTrustedMaterial{}, Annotations: signed,
	}, bundle)
}

func checkSignatures(t *testing.T, o outcome, demands cosign.CheckOpts, bundle bool) {
	t.Helper()
	demands.ClaimVerifier = cosign.SimpleClaimVerifier
	verify := cosign.VerifyImageSignatures
	if bundle { // in which a signature is a statement, too
		demands.NewBundleFormat, demands.ClaimVerifier = true, cosign.IntotoSubjectClaimVerifier
		verify = cosign.VerifyImageAttestations
	}
	for _, d := range digestsOf(t, o) {
		if _, _, err := verify(t.Context(), d, &demands); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// keylessBuilds are builds that are signed with the token of a workload. FULCIO, REKOR and TSA stand for the services.
func keylessBuilds() map[string]build {
	source := map[string]string{"Dockerfile": scratch, "file": "text\n"}
	return map[string]build{
		"by parameters": {
			params: map[string]any{"IMAGE": image, "SIGN": "keyless", "FULCIO_URL": "FULCIO", "REKOR_URL": "REKOR", "TSA_URL": "TSA"},
			source: source, workspaces: map[string]map[string]string{"signing": {"oidc-token": "TOKEN", "trusted_root.json": "ROOT"}},
		},
		"by files of the workspace": {
			params: map[string]any{"IMAGE": image, "SIGN": "keyless"},
			source: source, workspaces: map[string]map[string]string{"signing": {"oidc-token": "TOKEN", "trusted_root.json": "ROOT", "signing_config.json": "CONFIG"}},
		},
		"by further flags": {
			params: map[string]any{"IMAGE": image, "SIGN": "keyless", "EXTRA_ARGS": []string{
				"--identity-token-file=/workspace/secrets/t", "--signing-config=/workspace/secrets/c", "--trusted-root=/workspace/secrets/r", "--tlog=true",
			}},
			source: source, workspaces: map[string]map[string]string{"secrets": {"t": "TOKEN", "c": "CONFIG", "r": "ROOT"}},
		},
	}
}

// TestKeyless wants images that are signed without a key to be what cosign takes for signed by the workload.
func TestKeyless(t *testing.T) {
	s := sigstore.Serve(t)
	values := strings.NewReplacer(
		"FULCIO", s.FulcioURL, "REKOR", s.RekorURL, "TSA", s.TSAURL, "TOKEN", s.Token(t, "ci", "builder", time.Hour),
		"ROOT", string(mustRead(t, s.TrustedRootFile(t))), "CONFIG", string(mustRead(t, s.SigningConfigFile(t))),
	)
	for name, b := range keylessBuilds() {
		t.Run(name, func(t *testing.T) {
			for param, value := range b.params {
				if text, ok := value.(string); ok {
					b.params[param] = values.Replace(text)
				}
			}
			for _, files := range b.workspaces {
				for file, content := range files {
					files[file] = values.Replace(content)
				}
			}
			o := b.run(t)
			o.succeeded(t)
			checkSignatures(t, o, cosign.CheckOpts{
				TrustedMaterial: s.TrustedRoot(t), Offline: true, IgnoreSCT: true, UseSignedTimestamps: true,
				Identities: []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity("ci", "builder")}},
			}, false)
		})
	}
}

// hermeticBuild pins its base image. Its RUN shows the interfaces of the network.
func hermeticBuild(t *testing.T) build {
	t.Helper()
	base, err := shared.base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return build{
		params: map[string]any{"IMAGE": image, "HERMETIC": "true"},
		source: map[string]string{"Dockerfile": "FROM REGISTRY/base:1@" + base.String() + "\nRUN tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > /interfaces\n"},
	}
}

// TestHermetic wants no network where that is possible, an error where it is not, and pinned sources.
func TestHermetic(t *testing.T) {
	t.Run("with namespaces", func(t *testing.T) {
		t.Parallel()
		o := hermeticBuild(t).run(t)
		o.succeeded(t)
		checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{"interfaces": "lo\n"})
	})
	t.Run("without namespaces", func(t *testing.T) {
		t.Parallel()
		b := hermeticBuild(t)
		b.seccomp = true
		b.run(t).failed(t, 77, "IsolationUnavailable", "Dockerfile:2: ", "--network=none")
	})
	t.Run("not pinned", func(t *testing.T) {
		t.Parallel()
		b := hermeticBuild(t)
		b.source["Dockerfile"] = "FROM REGISTRY/base:1\n"
		b.run(t).failed(t, 1, "PolicyDenied", "Dockerfile:1: ", "its digest is not given")
	})
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
