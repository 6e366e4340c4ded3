package e2e

import (
	"encoding/json"
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

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
)

// attestedLegs builds for two platforms, with provenance and without a signature.
func attestedLegs(t *testing.T, repository string) []string {
	t.Helper()
	context := write(t, map[string]string{"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY x-$TARGETARCH /x\n", "x-amd64": "for amd64", "x-arm64": "for arm64"})
	var refs []string
	for _, arch := range []string{"amd64", "arm64"} {
		results := t.TempDir()
		mustSlipway(t, t.TempDir(), "build", "--platform", "linux/"+arch, "--provenance=mode=min", "-t", repository+":"+arch, "--results-dir", results, context)
		refs = append(refs, read(t, filepath.Join(results, "IMAGE_REF")))
	}
	return refs
}

// An index of attested images has their attestations, and is signed, with each image, in every repository, before its tags; what has the
// signature already gets no second one. Cosign's library verifies that.
func TestSignedIndex(t *testing.T) {
	r := distribution.Serve(t)
	key, verifier := signingKey(t)
	legs := attestedLegs(t, r.Host+"/team/app")
	mustSlipway(t, t.TempDir(), "sign", "--sign-key", key, legs[0])
	before, results := len(r.Log()), t.TempDir()
	tags := []string{r.Host + "/team/app:v1", r.Host + "/public/app:v1"}
	mustSlipway(t, t.TempDir(), append([]string{"index", "--sign=key", "--sign-dir", key, "-t", tags[0], "-t", tags[1], "--results-dir", results}, legs...)...)
	requests := apiRequests(r.Log()[before:])
	first := slices.IndexFunc(requests, func(q string) bool { return strings.HasPrefix(q, "PUT ") && strings.HasSuffix(q, "/manifests/v1") })
	signed := regexp.MustCompile(`^PUT .*/manifests/sha256-[0-9a-f]{64}\.sig$`)
	var signatures int
	for i, q := range requests {
		if !signed.MatchString(q) {
			continue
		}
		if signatures++; i > first {
			t.Errorf("%s comes after a tag", q)
		}
	}
	if signatures != 3+3-1 {
		t.Errorf("%d signatures were stored: there are an index and two images in two repositories, and one image was signed", signatures)
	}
	for _, tag := range tags {
		var index imageIndex
		if err := json.Unmarshal([]byte(tool(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+tag)), &index); err != nil {
			t.Fatal(err)
		}
		var entries []string
		for _, m := range index.Manifests {
			entries = append(entries, m.Platform.Architecture)
		}
		if want := []string{"amd64", "unknown", "arm64", "unknown"}; !slices.Equal(entries, want) {
			t.Errorf("%s has %q, want %q", tag, entries, want)
		}
		digests := namedDigests(t, tag)
		for _, d := range digests {
			found, _, err := cosign.VerifyImageSignatures(t.Context(), d, &cosign.CheckOpts{
				SigVerifier: verifier, IgnoreTlog: true, Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier,
			})
			if err != nil || len(found) != 1 {
				t.Errorf("%s has %d signatures, %v", d, len(found), err)
			}
		}
		if got := read(t, filepath.Join(results, "IMAGE_DIGEST")); got != digests[0].DigestStr() {
			t.Errorf("the result is %s, the tag %s", got, digests[0])
		}
	}
}

// Keyless, with all that it needs in one directory, and as bundles.
func TestKeylessIndex(t *testing.T) {
	r, s := distribution.Serve(t), sigstore.Serve(t)
	dir := write(t, map[string]string{
		"oidc-token": s.Token(t, "team", "builder", time.Hour), "signing_config.json": read(t, s.SigningConfigFile(t)), "trusted_root.json": read(t, s.TrustedRootFile(t)),
	})
	tag := r.Host + "/team/app:v1"
	mustSlipway(t, t.TempDir(), append([]string{"index", "--sign=keyless", "--sign-dir", dir, "--sign-format=bundle", "-t", tag}, attestedLegs(t, r.Host+"/team/app")...)...)
	demands := &cosign.CheckOpts{
		TrustedMaterial: s.TrustedRoot(t), Offline: true, ClaimVerifier: cosign.IntotoSubjectClaimVerifier, UseSignedTimestamps: true, IgnoreSCT: true,
		NewBundleFormat: true, Identities: []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity("team", "builder")}},
	}
	digests := namedDigests(t, tag)
	if len(digests) != 3 {
		t.Fatalf("%v: want an index and two images", digests)
	}
	for _, d := range digests {
		if _, _, err := cosign.VerifyImageAttestations(t.Context(), d, demands); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// An index that cannot be signed gets no tag and no results, and with a key or token that is of no use, nothing is pushed at all.
func TestUnsignedIndex(t *testing.T) {
	r := distribution.Serve(t)
	key, _ := signingKey(t)
	legs := attestedLegs(t, r.Host+"/legs/app")
	services := sigstore.Serve(t)
	token := write(t, map[string]string{"token": services.TokenFor(t, "somebody", "team", "builder", time.Hour)}) + "/token"
	for repository, c := range map[string]struct {
		flags  []string
		code   int
		reason string
		want   string
		pushes bool // the index, by its digest
	}{
		"no-such-key":      {[]string{"--sign-key", "/absent"}, 2, "UsageError", "absent", false},
		"no-key":           {[]string{"--sign=key"}, 2, "UsageError", "needs one: a file", false},
		"no-token":         {[]string{"--sign=keyless"}, 2, "UsageError", "identity token", false},
		"no-such-format":   {[]string{"--sign-key", key, "--sign-format=x"}, 2, "UsageError", "--sign-format x", false},
		"log-down":         {[]string{"--sign-key", key, "--rekor-url", "http://127.0.0.1:1"}, 75, "SigningUnavailable", "Rekor (http://127.0.0.1:1)", true},
		"token-of-another": {[]string{"--sign=keyless", "--identity-token-file", token, "--signing-config", services.SigningConfigFile(t)}, 1, "SigningRefused", "Fulcio (" + services.FulcioURL + ")", true},
	} {
		t.Run(repository, func(t *testing.T) {
			results, before := t.TempDir(), len(r.Log())
			ref := r.Host + "/" + repository + ":v1"
			o := slipway(t, t.TempDir(), slices.Concat([]string{"index", "--results-dir", results, "-t", ref}, c.flags, legs)...)
			if o.code != c.code || !strings.Contains(o.stderr, c.want) {
				t.Errorf("exit code %d, want %d with %q: %s", o.code, c.code, c.want, o.stderr)
			}
			if got := read(t, filepath.Join(results, "ERROR_REASON")); got != c.reason {
				t.Errorf("the reason is %s, want %s", got, c.reason)
			}
			pushed := slices.ContainsFunc(apiRequests(r.Log()[before:]), func(q string) bool {
				return strings.HasPrefix(q, "PUT ") || strings.HasPrefix(q, "POST ")
			})
			if pushed != c.pushes {
				t.Errorf("something was pushed: %v, want %v", pushed, c.pushes)
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
