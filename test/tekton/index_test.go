package tekton_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/test/pod"
)

// legs are the references that the legs of a matrix would give.
func legs() []string { return []string{"REGISTRY/team/app:v1-amd64", "REGISTRY/team/app:v1-arm64"} }

// join joins the images of the legs.
func join() build {
	return build{
		task: "slipway-index",
		params: map[string]any{
			"IMAGE": image, "IMAGES": legs(), "TAGS": []string{"REGISTRY/team/app:latest"}, "PLATFORMS": []string{"linux/amd64", "linux/arm64"},
			"ANNOTATIONS": []string{"a=1"}, "EXTRA_ARGS": []string{"--annotation=b=2"}, "BUILDER_IMAGE": debugImage,
		},
		flags: map[string]string{"set-security-context": "true"},
	}
}

func joins() []build { return []build{join(), joinSigned(key), joinSigned(keyless)} }

// The values of SIGN.
const (
	key     = "key"
	keyless = "keyless"
)

// joinSigned joins them, and signs; what is in the workspace, and where the services are, the test knows.
func joinSigned(method string) build {
	b := join()
	b.workspaces = map[string]map[string]string{"signing": nil}
	b.params["SIGN"] = method
	if method == keyless {
		maps.Copy(b.params, map[string]any{"SIGN_FORMAT": "bundle", "FULCIO_URL": "", "REKOR_URL": "", "TSA_URL": ""})
	}
	return b
}

// TestMultiArch builds for two platforms, in two TaskRuns as those of a matrix, and joins what their results name in
// a third one, whose pod has no permission at all.
func TestMultiArch(t *testing.T) {
	host := serve(t).Host
	var refs []string
	for i, platform := range []string{"amd64", "arm64"} {
		leg := build{
			params: map[string]any{"IMAGE": legs()[i], "PLATFORM": "linux/" + platform},
			source: map[string]string{"Dockerfile": scratch, "file": platform},
		}
		o := leg.runAt(t, host)
		o.succeeded(t)
		o.pushed(t, legs()[i], nil)
		refs = append(refs, o.results["IMAGE_REF"])
	}
	b := join()
	b.params["IMAGES"] = refs
	o := b.runAt(t, host)
	o.succeeded(t)
	descriptor := o.pushed(t, image, []string{"REGISTRY/team/app:latest"})
	var index v1.IndexManifest
	if err := json.Unmarshal(descriptor.Manifest, &index); err != nil {
		t.Fatal(err)
	}
	if index.Annotations["a"] != "1" || index.Annotations["b"] != "2" {
		t.Errorf("annotations %v", index.Annotations)
	}
	var got []string
	for i, m := range index.Manifests {
		got = append(got, m.Platform.String()+" "+fill(legs()[i], host)+"@"+m.Digest.String())
	}
	if want := []string{"linux/amd64 " + refs[0], "linux/arm64 " + refs[1]}; !slices.Equal(got, want) {
		t.Errorf("the index has %q, want %q", got, want)
	}
	if raw := skopeo(t, "inspect", "--raw", "--tls-verify=false", "docker://"+o.results["IMAGE_URL"]); !bytes.Equal(raw, descriptor.Manifest) {
		t.Errorf("skopeo reads %s", raw)
	}
}

// TestSignedIndex joins legs that have provenance and no signature. Index and images are signed, as cosign's library finds, with what is
// in the workspace.
func TestSignedIndex(t *testing.T) {
	host := serve(t).Host
	for i, platform := range []string{"amd64", "arm64"} {
		leg := build{
			params: map[string]any{"IMAGE": legs()[i], "PLATFORM": "linux/" + platform, "PROVENANCE": "mode=min"},
			source: map[string]string{"Dockerfile": scratch, "file": platform},
		}
		if o := leg.runAt(t, host); o.step.ExitCode != 0 {
			t.Fatal(o.log())
		}
	}
	t.Run(key, func(t *testing.T) {
		pair := cosigned.NewKeyPair(t)
		b := joinSigned(key)
		b.workspaces["signing"] = pair.Files
		for _, subject := range b.joined(t, host) {
			if _, _, err := cosign.VerifyImageSignatures(t.Context(), subject, &cosign.CheckOpts{
				SigVerifier: pair.Verifier, IgnoreTlog: true, Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier,
			}); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run(keyless, func(t *testing.T) {
		s := sigstore.Serve(t)
		b := joinSigned(keyless)
		b.workspaces["signing"] = map[string]string{"oidc-token": s.Token(t, "ci", "builder", time.Hour)}
		b.params["FULCIO_URL"], b.params["REKOR_URL"], b.params["TSA_URL"] = s.FulcioURL, s.RekorURL, s.TSAURL
		for _, subject := range b.joined(t, host) {
			if _, _, err := cosign.VerifyImageAttestations(t.Context(), subject, &cosign.CheckOpts{
				NewBundleFormat: true, TrustedMaterial: s.TrustedRoot(t), UseSignedTimestamps: true, IgnoreSCT: true, Offline: true,
				ClaimVerifier: cosign.IntotoSubjectClaimVerifier,
				Identities:    []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity("ci", "builder")}},
			}); err != nil {
				t.Error(err)
			}
		}
	})
}

// joined runs the build, and gives what must be signed then: the index and its images.
func (b build) joined(t *testing.T, host string) []name.Digest {
	t.Helper()
	o := b.runAt(t, host)
	o.succeeded(t)
	var index v1.IndexManifest
	if err := json.Unmarshal(o.pushed(t, image, b.params["TAGS"].([]string)).Manifest, &index); err != nil {
		t.Fatal(err)
	}
	repository := reference(t, fill(image, host)).Context()
	subjects, attestations := []name.Digest{repository.Digest(o.results["IMAGE_DIGEST"])}, 0
	for _, m := range index.Manifests {
		if m.Platform.OS == "unknown" {
			attestations++
			continue
		}
		subjects = append(subjects, repository.Digest(m.Digest.String()))
	}
	if len(subjects) != 3 || attestations != 2 {
		t.Errorf("an index and images %v, and %d attestations", subjects, attestations)
	}
	return subjects
}

// TestUnsignableIndex pushes nothing without what SIGN needs.
func TestUnsignableIndex(t *testing.T) {
	host := serve(t).Host
	pushPart(t, host)
	for _, method := range []string{key, keyless} {
		b := joinSigned(method)
		b.params["IMAGES"], b.params["PLATFORMS"] = []string{"REGISTRY/part:1"}, []string{}
		b.workspaces["signing"] = map[string]string{"unrelated": ""}
		o := b.runAt(t, host)
		o.failed(t, 2, "UsageError")
		o.notPushed(t, image)
	}
}

// TestMissingPlatform pushes nothing if a leg is missing.
func TestMissingPlatform(t *testing.T) {
	host := serve(t).Host
	pushPart(t, host)
	b := join()
	b.params["IMAGES"] = []string{"REGISTRY/part:1"}
	b.params["PLATFORMS"] = []string{"linux/amd64", "linux/arm64", "linux/s390x"}
	o := b.runAt(t, host)
	if o.step.ExitCode == 0 || o.results["ERROR_REASON"] == "" || o.results["IMAGE_DIGEST"] != "" {
		t.Errorf("exit code %d, results %q\n%s", o.step.ExitCode, o.results, o.log())
	}
	o.notPushed(t, image)
}

// skopeo runs the program of that name, and gives what it writes.
func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		if os.Getenv(pod.RequireToolsEnv) != "" {
			t.Fatal(err)
		}
		t.Skip("skopeo is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "skopeo", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo: %v\n%s", err, stderr.Bytes())
	}
	return out
}
