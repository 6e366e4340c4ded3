package argo

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/test/pod"
)

// signer is a way to sign, and what a cluster has for it.
type signer struct {
	parameters map[string]string
	secret     map[string]string // slipway-signing
	tokens     map[string]string
	// demands are those that cosign's library verifies signatures with.
	demands *cosign.CheckOpts
}

// withKey signs with a key in the Secret.
func withKey(t *testing.T) signer {
	t.Helper()
	key := cosigned.NewKeyPair(t)
	return signer{
		parameters: map[string]string{"sign": "key"},
		secret:     key.Files,
		demands:    &cosign.CheckOpts{SigVerifier: key.Verifier, IgnoreTlog: true, Offline: true},
	}
}

// keyless signs with the token of the pod's service account; the services are given as parameters.
func keyless(t *testing.T) signer {
	t.Helper()
	s := sigstore.Serve(t)
	return signer{
		parameters: map[string]string{"sign": "keyless", "sign-format": "bundle", "fulcio-url": s.FulcioURL, "rekor-url": s.RekorURL, "tsa-url": s.TSAURL},
		tokens:     map[string]string{"sigstore": s.Token(t, namespace, "builder", time.Hour)},
		demands:    byIdentity(t, s),
	}
}

// configured is keyless with the services in the Secret, which has a key besides.
func configured(t *testing.T) signer {
	t.Helper()
	s := sigstore.Serve(t)
	return signer{
		parameters: map[string]string{"sign": "keyless"},
		secret:     map[string]string{"signing_config.json": readFile(t, s.SigningConfigFile(t)), "trusted_root.json": readFile(t, s.TrustedRootFile(t)), "cosign.key": "not for this"},
		tokens:     map[string]string{"sigstore": s.Token(t, namespace, "builder", time.Hour)},
		demands:    byIdentity(t, s),
	}
}

func byIdentity(t *testing.T, s *sigstore.Sigstore) *cosign.CheckOpts {
	t.Helper()
	return &cosign.CheckOpts{
		TrustedMaterial: s.TrustedRoot(t), UseSignedTimestamps: true, IgnoreSCT: true, Offline: true,
		Identities: []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity(namespace, "builder")}},
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// on is the cluster with that.
func (s signer) on(shape pod.Shape) node {
	n := node{shape: shape, tokens: s.tokens}
	if s.secret != nil {
		n.secrets = map[string]map[string]string{"slipway-signing": s.secret}
	}
	return n
}

// verify has cosign's library verify the signature of what a reference names and, if it is an index, of the images in it, and says how
// many there were.
func (s signer) verify(t *testing.T, reference string) int {
	t.Helper()
	parsed, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	top := descriptorOf(t, reference)
	subjects := []name.Digest{parsed.Context().Digest(top.Digest.String())}
	if top.MediaType.IsIndex() {
		index, err := top.ImageIndex()
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range manifest.Manifests {
			if m.Platform.OS != "unknown" {
				subjects = append(subjects, parsed.Context().Digest(m.Digest.String()))
			}
		}
	}
	demands := *s.demands
	for _, subject := range subjects {
		if s.parameters["sign-format"] == "bundle" {
			demands.NewBundleFormat, demands.ClaimVerifier = true, cosign.IntotoSubjectClaimVerifier
			_, _, err = cosign.VerifyImageAttestations(t.Context(), subject, &demands)
		} else {
			demands.ClaimVerifier = cosign.SimpleClaimVerifier
			_, _, err = cosign.VerifyImageSignatures(t.Context(), subject, &demands)
		}
		if err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	return len(subjects)
}

// A build signs with the key in the Secret, or with the token that Kubernetes gives the pod for that.
func TestSignedBuild(t *testing.T) {
	for name, way := range map[string]func(*testing.T) signer{"key": withKey, "keyless": keyless, "keyless, configured": configured} {
		for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
			t.Run(name+", "+shape.Name, func(t *testing.T) {
				registry, s := serveRegistry(t), way(t)
				parameters := map[string]string{"image": registry + "/team/app:v1", "provenance": "true", "attest-storage": "cosign"}
				maps.Copy(parameters, s.parameters)
				if parameters["sign-format"] != "bundle" { // which has no place for annotations that cosign would ask for
					parameters["sign-annotations"], s.demands.Annotations = `["commit=1a2b"]`, map[string]any{"commit": "1a2b"}
				}
				arguments := argumentsOf(parameters, archive(t, map[string]string{"Dockerfile": "FROM " + registry + "/base:1\nRUN touch /made\n"}))
				o := s.on(shape).run(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), arguments, nil)))
				if o.exitCode != 0 {
					t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
				}
				if n := s.verify(t, o.outputs["image-ref"]); n != 1 {
					t.Errorf("%d digests are signed, and yet the statements are not in an index", n)
				}
				for _, secret := range []string{"correct horse", s.tokens["sigstore"]} {
					if secret != "" && strings.Contains(o.log, secret) {
						t.Errorf("the log has the secret %s", secret)
					}
				}
			})
		}
	}
}

// Of several architectures, the index and its images are signed where they are joined: no pod with a RUN has a key or a token.
func TestSignedMultiArch(t *testing.T) {
	example := readManifests(t).workflows["examples/argo/signed.yaml"]
	if example == nil {
		t.Fatal("the example is not there")
	}
	shown := map[string]string{}
	for _, p := range example.Spec.Templates[0].Steps[0].Steps[0].Arguments.Parameters {
		shown[p.Name] = p.Value.String()
	}
	for name, way := range map[string]func(*testing.T) signer{"key": withKey, "keyless": keyless} {
		t.Run(name, func(t *testing.T) {
			registry, s := serveRegistry(t), way(t)
			parameters := maps.Clone(shown)
			maps.Copy(parameters, s.parameters)
			parameters["image"] = registry + "/team/app:v1"
			source := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
			pods, outputs := runSteps(t, s.on(pod.Baseline()), slipway(t), "multi-arch", argumentsOf(parameters, source))
			for _, p := range pods {
				if p.outcome.exitCode != 0 {
					t.Fatalf("%s: exit code %d\n%s", p.step, p.outcome.exitCode, p.outcome.log)
				}
				signs := slices.ContainsFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Name == "signing" })
				if signs != (p.step == "index") {
					t.Errorf("the pod of %s has what is signed with: %v", p.step, signs)
				}
			}
			if n := s.verify(t, outputs["image-ref"]); n != 3 {
				t.Errorf("%d digests are signed, want those of an index and two images", n)
			}
			if n := len(attestationsOf(t, outputs["image-ref"])); n != 4 {
				t.Errorf("the index has %d attestations, want provenance and SBOM of two images", n)
			}
		})
	}
}

// Without its key nothing is pushed; without its log, the tag is missing until another attempt succeeds.
func TestUnsigned(t *testing.T) {
	s := withKey(t)
	for _, test := range []struct {
		name       string
		cluster    node
		parameters map[string]string
		exitCode   int
		reason     string
		retried    bool
	}{
		{"no Secret", node{shape: pod.Default()}, map[string]string{"sign": "key"}, 2, "UsageError", false},
		{"no such way", s.on(pod.Default()), map[string]string{"sign": "yes"}, 2, "UsageError", false},
		{"no log", s.on(pod.Default()), map[string]string{"sign": "key", "rekor-url": "http://" + noRegistry(t)}, 75, "SigningUnavailable", true},
	} {
		for _, template := range []string{"build", "index"} {
			t.Run(test.name+", "+template, func(t *testing.T) {
				registry := serveRegistry(t)
				parameters := map[string]string{"image": registry + "/team/app:v1", "images": `["` + registry + `/base:1"]`}
				maps.Copy(parameters, test.parameters)
				arguments := values(parameters)
				if template == "build" {
					arguments = argumentsOf(parameters, archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
				}
				tmpl := instance(t, templateNamed(t, slipway(t), template), arguments, nil)
				o := test.cluster.run(t, podOf(t, tmpl))
				if o.exitCode != test.exitCode || o.outputs["error-reason"] != test.reason || o.outputs["image-ref"] != "" {
					t.Errorf("exit code %d, outputs %v\n%s", o.exitCode, o.outputs, o.log)
				}
				if got := retries(t, tmpl.RetryStrategy, o.exitCode); got != test.retried {
					t.Errorf("tried again: %v", got)
				}
			})
		}
	}
}
