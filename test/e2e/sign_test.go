package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
)

// signingKey makes a directory like a mounted Secret with a key, and what verifies with it.
func signingKey(t testing.TB) (dir string, verifier signature.Verifier) {
	t.Helper()
	key := cosigned.NewKeyPair(t)
	return key.Dir(t), key.Verifier
}

// namedDigests are the digests of an index and of its images, or of a single image.
func namedDigests(t *testing.T, ref string) []name.Digest {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(parsed)
	if err != nil {
		t.Fatal(err)
	}
	all := []name.Digest{parsed.Context().Digest(desc.Digest.String())}
	if !desc.MediaType.IsIndex() {
		return all
	}
	index, err := desc.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		if d.Platform.OS != "unknown" {
			all = append(all, parsed.Context().Digest(d.Digest.String()))
		}
	}
	return all
}

// A build signs index, images and what is said about them, before its tag and its results; cosign's library verifies that.
func TestSignedBuild(t *testing.T) {
	r := distribution.Serve(t)
	key, verifier := signingKey(t)
	context := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "x"})
	dir := t.TempDir()
	for _, platforms := range []string{"linux/amd64", "linux/amd64,linux/arm64"} {
		ref := r.Host + "/" + strings.ReplaceAll(platforms, ",", "-") + ":1"
		results := t.TempDir()
		before := len(r.Log())
		mustSlipway(t, dir, "build", "--platform", platforms, "--provenance=true", "--attest-storage=both", "--sign=key", "--sign-key", key, "--results-dir", results, "-t", ref, context)
		requests := apiRequests(r.Log()[before:])
		tag := slices.IndexFunc(requests, func(q string) bool { return strings.HasPrefix(q, "PUT ") && strings.HasSuffix(q, "/manifests/1") })
		signed := regexp.MustCompile(`PUT .*/manifests/sha256-[0-9a-f]{64}\.(sig|att)$`)
		for i, q := range requests {
			if signed.MatchString(q) && i > tag {
				t.Errorf("%s comes after the tag", q)
			}
		}
		digests := namedDigests(t, ref)
		if want := map[string]int{"linux/amd64": 2, "linux/amd64,linux/arm64": 3}[platforms]; len(digests) != want {
			t.Fatalf("%s: %d digests", platforms, len(digests))
		}
		demands := &cosign.CheckOpts{SigVerifier: verifier, IgnoreTlog: true, Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier}
		for i, d := range digests {
			if _, _, err := cosign.VerifyImageSignatures(t.Context(), d, demands); err != nil {
				t.Errorf("%s: %v", d, err)
			}
			if i == 0 {
				continue // statements are about images
			}
			about := *demands
			about.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
			statements, _, err := cosign.VerifyImageAttestations(t.Context(), d, &about)
			if err != nil || len(statements) != 1 {
				t.Errorf("%s: %d attestations, %v", d, len(statements), err)
			}
		}
		if got := read(t, filepath.Join(results, "IMAGE_DIGEST")); got != digests[0].DigestStr() {
			t.Errorf("the result is %s, the tag %s", got, digests[0])
		}
	}
}

// Keyless signing with a workload's token, all from flags; without an index, the statements lie with the signatures alone.
func TestKeylessBuild(t *testing.T) {
	r := distribution.Serve(t)
	s := sigstore.Serve(t)
	token := write(t, map[string]string{"token": s.Token(t, "team", "builder", time.Hour)}) + "/token"
	context := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "x"})
	ref := r.Host + "/app:1"
	mustSlipway(t, t.TempDir(), "build", "--provenance=mode=min", "--attest-storage=cosign", "--sign=keyless", "--identity-token-file", token,
		"--signing-config", s.SigningConfigFile(t), "--trusted-root", s.TrustedRootFile(t), "-t", ref, context)
	digests := namedDigests(t, ref)
	if len(digests) != 1 {
		t.Fatalf("%v: it should be one manifest", digests)
	}
	demands := &cosign.CheckOpts{
		TrustedMaterial: s.TrustedRoot(t), Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier, UseSignedTimestamps: true, IgnoreSCT: true,
		Identities: []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity("team", "builder")}},
	}
	if _, _, err := cosign.VerifyImageSignatures(t.Context(), digests[0], demands); err != nil {
		t.Error(err)
	}
	demands.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
	if _, _, err := cosign.VerifyImageAttestations(t.Context(), digests[0], demands); err != nil {
		t.Error(err)
	}
	demands.Identities[0].Subject = sigstore.Identity("team", "somebody-else")
	if _, _, err := cosign.VerifyImageAttestations(t.Context(), digests[0], demands); err == nil {
		t.Error("another identity is taken for the signer")
	}
}

// An image that cannot be signed gets no tag and no results, and the reason tells whether to try again.
func TestUnsignedBuild(t *testing.T) {
	r := distribution.Serve(t)
	key, _ := signingKey(t)
	context := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "x"})
	wrong := t.TempDir()
	for _, f := range []string{"cosign.key", "cosign.password"} {
		content := read(t, filepath.Join(key, f))
		if f == "cosign.password" {
			content = "wrong password"
		}
		if err := os.WriteFile(filepath.Join(wrong, f), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name1, c := range map[string]struct {
		flags  []string
		code   int
		reason string
	}{
		"no such key":        {[]string{"--sign=key", "--sign-key", "/absent"}, 2, "UsageError"},
		"a wrong password":   {[]string{"--sign-key", wrong}, 2, "UsageError"},
		"a key of a cloud":   {[]string{"--sign=key", "--sign-key", "awskms:///alias/x"}, 2, "UsageError"},
		"no log there":       {[]string{"--sign-key", key, "--rekor-url", "http://127.0.0.1:1", "--tlog"}, 75, "SigningUnavailable"},
		"statements for it":  {[]string{"--provenance=true", "--attest-storage=cosign"}, 2, "UsageError"},
		"no identity to use": {[]string{"--sign=keyless"}, 2, "UsageError"},
	} {
		t.Run(name1, func(t *testing.T) {
			results := t.TempDir()
			ref := r.Host + "/" + strings.ReplaceAll(name1, " ", "-") + ":1"
			o := slipway(t, t.TempDir(), append(append([]string{"build", "--results-dir", results, "-t", ref}, c.flags...), context)...)
			if o.code != c.code || read(t, filepath.Join(results, "ERROR_REASON")) != c.reason {
				t.Errorf("exit code %d, want %d: %s\n%s", o.code, c.code, read(t, filepath.Join(results, "ERROR_REASON")), o.stderr)
			}
			if strings.Contains(o.stderr, "wrong password") || strings.Contains(o.stderr, "correct horse") {
				t.Errorf("the password is shown: %s", o.stderr)
			}
			parsed, err := name.ParseReference(ref)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Head(parsed); err == nil {
				t.Error("there is a tag")
			}
			if _, err := os.Stat(filepath.Join(results, "IMAGE_DIGEST")); err == nil {
				t.Error("there is a result")
			}
		})
	}
}
