package sign_test

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/sign"
)

// registries are the kinds of registries: with the API for referrers, and without.
func registries(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{"referrers API": withReferrers(t), "docker-registry": distribution.Serve(t).Host}
}

func withReferrers(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(memory.New(memory.WithReferrersSupport(true), memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// image pushes an image, and gives its digest.
func image(t testing.TB, repository string) name.Digest {
	t.Helper()
	repo, err := name.NewRepository(repository)
	check(t, err)
	img, err := random.Image(100, 1)
	check(t, err)
	digest, err := img.Digest()
	check(t, err)
	ref := repo.Digest(digest.String())
	check(t, remote.Write(ref, img))
	return ref
}

// client is one that tries everything but twice, and soon.
func client(t testing.TB) *registry.Client {
	t.Helper()
	c, err := registry.New(t.Context(), registry.Options{UserAgent: "test", Retry: registry.Retry{Attempts: 2, Base: time.Millisecond}})
	check(t, err)
	return c
}

// signer is one that must be had.
func signer(t testing.TB, o sign.Options) *sign.Signer {
	t.Helper()
	s, err := sign.New(t.Context(), o, client(t))
	check(t, err)
	return s
}

const password = cosigned.Password

// keyPair makes a directory with a key, as a mounted Secret is one, and the verifier for it.
func keyPair(t testing.TB) (dir string, public signature.Verifier) {
	t.Helper()
	key := cosigned.NewKeyPair(t)
	return key.Dir(t), key.Verifier
}

// byKey are the demands of "cosign verify --key … --insecure-ignore-tlog".
func byKey(public signature.Verifier) *cosign.CheckOpts {
	return &cosign.CheckOpts{
		SigVerifier: public, IgnoreTlog: true, Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier,
		TrustedMaterial: &root.BaseTrustedMaterial{}, // which verifying bundles demands even so
	}
}

// byIdentity are the demands of "cosign verify --certificate-identity … --trusted-root … --offline".
func byIdentity(t testing.TB, s *sigstore.Sigstore) *cosign.CheckOpts {
	t.Helper()
	return &cosign.CheckOpts{
		TrustedMaterial: s.TrustedRoot(t), Offline: true, IgnoreSCT: true, // there is no certificate transparency log
		Identities:    []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity("ci", "builder")}},
		ClaimVerifier: cosign.SimpleClaimVerifier,
	}
}

// verify is what cosign does to verify signatures of an image. Bundles say that an image is signed in a statement, which cosign v2
// verifies as an attestation.
func verify(ctx context.Context, ref name.Digest, format sign.Format, o *cosign.CheckOpts) ([]oci.Signature, error) {
	check := *o
	if format == sign.Bundle {
		check.NewBundleFormat, check.ClaimVerifier = true, cosign.IntotoSubjectClaimVerifier
		found, _, err := cosign.VerifyImageAttestations(ctx, ref, &check)
		return found, err
	}
	found, _, err := cosign.VerifyImageSignatures(ctx, ref, &check)
	return found, err
}

// verifyStatements is what cosign does to verify attestations.
func verifyStatements(ctx context.Context, ref name.Digest, format sign.Format, o *cosign.CheckOpts) ([]oci.Signature, error) {
	check := *o
	check.NewBundleFormat, check.ClaimVerifier = format == sign.Bundle, cosign.IntotoSubjectClaimVerifier
	found, _, err := cosign.VerifyImageAttestations(ctx, ref, &check)
	return found, err
}

// statement is one about an image.
func statement(ref name.Digest, text string) []byte {
	_, sum, _ := strings.Cut(ref.DigestStr(), ":")
	return []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":"` + sum +
		`"}}],"predicateType":"https://example.com/test","predicate":{"text":"` + text + `"}}`)
}

// tokenFile is a file with an identity token.
func tokenFile(t testing.TB, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "oidc-token")
	check(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	return file
}

// keyless are the options for signing with a service account's token.
func keyless(t testing.TB, s *sigstore.Sigstore) sign.Options {
	t.Helper()
	return sign.Options{
		Method: sign.Keyless, FulcioURL: s.FulcioURL, RekorURL: s.RekorURL,
		IdentityToken: tokenFile(t, s.Token(t, "ci", "builder", time.Hour)),
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func formats() []sign.Format { return []sign.Format{sign.Signature, sign.Bundle} }
