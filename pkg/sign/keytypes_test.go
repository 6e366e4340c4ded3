package sign_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/sign"
)

// Keys of other kinds, which "cosign import-key-pair" has wrapped.
func TestImportedKeys(t *testing.T) {
	services := sigstore.Serve(t)
	host := withReferrers(t)
	for name, c := range map[string]struct {
		make   func() (crypto.Signer, error)
		hash   crypto.Hash // that "cosign verify" is to be told, or uses anyway
		logged bool        // may be
	}{
		"RSA":     {func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }, crypto.SHA256, true},
		"P-256":   {func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }, crypto.SHA256, true},
		"P-384":   {func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }, crypto.SHA384, false},
		"Ed25519": {func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err }, crypto.SHA256, false},
	} {
		private, err := c.make()
		check(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(private)
		check(t, err)
		dir := t.TempDir()
		plain := filepath.Join(dir, "plain.pem")
		check(t, os.WriteFile(plain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		pair, err := cosign.ImportKeyPair(plain, func(bool) ([]byte, error) { return nil, nil })
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, "cosign.key"), pair.PrivateBytes, 0o600))
		public, err := signature.LoadVerifier(private.Public(), c.hash) // as cosign does
		check(t, err)
		if _, err := sign.New(t.Context(), sign.Options{Method: sign.Key, Key: dir, RekorURL: services.RekorURL}, client(t)); (err == nil) != c.logged {
			t.Errorf("%s: with a log: %v", name, err)
		}
		for _, format := range formats() {
			for _, log := range []bool{false, true} {
				if log && !c.logged {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%v", name, format, log), func(t *testing.T) {
					o, demands := sign.Options{Method: sign.Key, Key: dir, Format: format, TrustedRoot: services.TrustedRootFile(t)}, byKey(public)
					if log {
						o.RekorURL, demands.IgnoreTlog, demands.TrustedMaterial = services.RekorURL, false, services.TrustedRoot(t)
					}
					ref := image(t, host+"/app")
					s := signer(t, o)
					for range 2 { // what is signed is not signed again
						check(t, s.Sign(t.Context(), ref))
						check(t, s.Attest(t.Context(), ref, statement(ref, "x")))
					}
					want := map[sign.Format]int{sign.Signature: 1, sign.Bundle: 2}[format]
					if found, err := verify(t.Context(), ref, format, demands); err != nil || len(found) != want {
						t.Errorf("%d signatures, %v", len(found), err)
					}
					if found, err := verifyStatements(t.Context(), ref, format, demands); err != nil || len(found) != want {
						t.Errorf("%d statements, %v", len(found), err)
					}
				})
			}
		}
	}
}
