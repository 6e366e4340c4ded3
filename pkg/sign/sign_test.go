package sign_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/sign"
)

// What is signed, by each method, in each format, in each kind of registry, verifies with cosign, and nothing else does.
func TestSignaturesVerify(t *testing.T) {
	services := sigstore.Serve(t)
	dir, public := keyPair(t)
	_, other := keyPair(t)
	yes, no := true, false
	stranger := byIdentity(t, services)
	stranger.Identities = []cosign.Identity{{Issuer: sigstore.Issuer, Subject: sigstore.Identity("ci", "stranger")}}
	logged := byKey(public)
	logged.IgnoreTlog, logged.TrustedMaterial = false, services.TrustedRoot(t)
	stamped := byIdentity(t, services)
	stamped.IgnoreTlog, stamped.UseSignedTimestamps = true, true
	both := byIdentity(t, services)
	both.UseSignedTimestamps = true
	loggedByOther := *logged
	loggedByOther.SigVerifier = other

	withStamp, onlyStamp, configured := keyless(t, services), keyless(t, services), keyless(t, services)
	withStamp.TSAURL = services.TSAURL
	onlyStamp.TSAURL, onlyStamp.Tlog = services.TSAURL, &no
	configured.FulcioURL, configured.RekorURL, configured.SigningConfig = "", "", services.SigningConfigFile(t)
	configured.TrustedRoot = services.TrustedRootFile(t)
	hosts := registries(t)
	for name, c := range map[string]struct {
		options          sign.Options
		accepts, rejects *cosign.CheckOpts
	}{
		"key":                            {sign.Options{Method: sign.Key, Key: dir}, byKey(public), byKey(other)},
		"key, logged":                    {sign.Options{Method: sign.Key, Key: dir, RekorURL: services.RekorURL}, logged, &loggedByOther},
		"key, logged, checked":           {sign.Options{Method: sign.Key, Key: dir, RekorURL: services.RekorURL, Tlog: &yes, TrustedRoot: services.TrustedRootFile(t)}, logged, &loggedByOther},
		"keyless":                        {keyless(t, services), byIdentity(t, services), stranger},
		"keyless, with timestamp":        {withStamp, both, stranger},
		"keyless, timestamp in place":    {onlyStamp, stamped, byIdentity(t, services)},
		"keyless, by configuration file": {configured, both, stranger},
	} {
		for kind, host := range hosts {
			for _, format := range formats() {
				t.Run(name+"/"+kind+"/"+string(format), func(t *testing.T) {
					ref, unsigned := image(t, host+"/team/app"), image(t, host+"/team/app")
					o := c.options
					o.Format = format
					s := signer(t, o)
					check(t, s.Sign(t.Context(), ref))
					found, err := verify(t.Context(), ref, format, c.accepts)
					if err != nil || len(found) != 1 {
						t.Errorf("%d signatures of the image: %v", len(found), err)
					}
					if _, err := verify(t.Context(), ref, format, c.rejects); err == nil {
						t.Error("it is accepted as somebody else's")
					}
					if _, err := verify(t.Context(), unsigned, format, c.accepts); err == nil {
						t.Error("an image that was not signed is accepted")
					}

					check(t, s.Attest(t.Context(), unsigned, statement(unsigned, "true")))
					found, err = verifyStatements(t.Context(), unsigned, format, c.accepts)
					if err != nil || len(found) != 1 {
						t.Fatalf("%d attestations of the image: %v", len(found), err)
					}
					if payload, err := found[0].Payload(); err != nil || !strings.Contains(string(payload), "payload") {
						t.Errorf("the attestation is %s, %v", payload, err)
					}
					if _, err := verifyStatements(t.Context(), unsigned, format, c.rejects); err == nil {
						t.Error("it is accepted as somebody else's")
					}
				})
			}
		}
	}
}

// Annotations are part of what is signed.
func TestAnnotations(t *testing.T) {
	dir, public := keyPair(t)
	ref := image(t, withReferrers(t)+"/app")
	check(t, signer(t, sign.Options{Method: sign.Key, Key: dir, Annotations: map[string]string{"commit": "abc"}}).Sign(t.Context(), ref))
	o := byKey(public)
	o.Annotations = map[string]any{"commit": "abc"}
	if _, err := verify(t.Context(), ref, sign.Signature, o); err != nil {
		t.Error(err)
	}
	o.Annotations = map[string]any{"commit": "def"}
	if _, err := verify(t.Context(), ref, sign.Signature, o); err == nil {
		t.Error("another annotation is accepted")
	}
}

// What signed an image first remains when somebody else signs it. The same key signs the same only once; a key of the moment
// is never the same.
func TestSignaturesAreKept(t *testing.T) {
	services := sigstore.Serve(t)
	first, firstPublic := keyPair(t)
	second, secondPublic := keyPair(t)
	for kind, host := range registries(t) {
		for _, format := range formats() {
			t.Run(kind+"/"+string(format), func(t *testing.T) {
				ref := image(t, host+"/app")
				signs := func(o sign.Options) {
					t.Helper()
					o.Format = format
					s := signer(t, o)
					check(t, s.Sign(t.Context(), ref))
					check(t, s.Attest(t.Context(), ref, statement(ref, "a")))
				}
				counts := func(o *cosign.CheckOpts, want int) {
					t.Helper()
					ofImage, err := verify(t.Context(), ref, format, o)
					check(t, err)
					statements, err := verifyStatements(t.Context(), ref, format, o)
					check(t, err)
					if format == sign.Bundle {
						want *= 2 // there is one list
					}
					if len(ofImage) != want || len(statements) != want {
						t.Errorf("%d signatures and %d attestations, want %d", len(ofImage), len(statements), want)
					}
				}
				signs(sign.Options{Method: sign.Key, Key: first})
				signs(sign.Options{Method: sign.Key, Key: second})
				signs(sign.Options{Method: sign.Key, Key: first}) // once more
				signs(keyless(t, services))
				signs(keyless(t, services))
				counts(byKey(firstPublic), 1)
				counts(byKey(secondPublic), 1)
				counts(byIdentity(t, services), 2)
				// With an entry in the log it is another signature.
				before := services.Entries()
				signs(sign.Options{Method: sign.Key, Key: first, RekorURL: services.RekorURL})
				signs(sign.Options{Method: sign.Key, Key: first, RekorURL: services.RekorURL})
				counts(byKey(firstPublic), 2)
				if n := services.Entries() - before; n != 2 {
					t.Errorf("%d entries in the log, want one for the signature, and one for the attestation", n)
				}
			})
		}
	}
}

// Statements about something else, and what is none, are not signed.
func TestStatementsAreChecked(t *testing.T) {
	dir, _ := keyPair(t)
	host := withReferrers(t)
	ref, other := image(t, host+"/app"), image(t, host+"/app")
	s := signer(t, sign.Options{Method: sign.Key, Key: dir})
	for want, content := range map[string]string{
		"about something else":     string(statement(other, "x")),
		"is not JSON":              "{",
		"is no in-toto statement":  `{"spdxVersion":"SPDX-2.3"}`,
		"no in-toto statement":     `{"_type":"https://in-toto.io/Statement/v1"}`,
		"statement is not JSON: u": "",
	} {
		if err := s.Attest(t.Context(), ref, []byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", content, err, want)
		}
	}
	var none *cosign.ErrNoMatchingAttestations
	if _, err := verifyStatements(t.Context(), ref, sign.Signature, byKey(nil)); !errors.As(err, &none) && err == nil {
		t.Errorf("something was stored: %v", err)
	}
}

// An image that is not there is not signed as a bundle, which must say how long it is.
func TestBundleOfMissingImage(t *testing.T) {
	dir, _ := keyPair(t)
	ref, err := name.NewDigest(withReferrers(t) + "/app@sha256:" + strings.Repeat("0", 64))
	check(t, err)
	if err := signer(t, sign.Options{Method: sign.Key, Key: dir, Format: sign.Bundle}).Sign(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
}
