// Package cosigned signs images for tests, as cosign does, by cosign's library: with keys, and with certificates and log entries of
// a sigstore that exists in memory.
package cosigned

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/cosign/v2/pkg/cosign/attestation"
	"github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/mutate"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/cosign/v2/pkg/types"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// Key is a key pair.
type Key struct {
	PEM    []byte // of the public key
	signer signature.SignerVerifier
}

// NewKey makes a key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return loadKey(t, private)
}

// Base64 is the public key as data of a policy.
func (k *Key) Base64() string { return base64.StdEncoding.EncodeToString(k.PEM) }

func loadKey(t testing.TB, private crypto.PrivateKey) *Key {
	t.Helper()
	signer, err := signature.LoadSignerVerifier(private, crypto.SHA256)
	check(t, err)
	public, err := signer.PublicKey()
	check(t, err)
	pem, err := cryptoutils.MarshalPublicKeyToPEM(public)
	check(t, err)
	return &Key{pem, signer}
}

// Claim is what a signature says. The zero value is what cosign says: digest and repository of the image.
type Claim struct {
	Reference string // the image's name, if it is more than the repository
	Digest    string // another one than the image's
	Type      string
}

// bytes are what is signed.
func (c Claim) bytes(t testing.TB, of name.Digest) []byte {
	t.Helper()
	p := payload.Cosign{Image: of, ClaimedIdentity: c.Reference}.SimpleContainerImage()
	if c.Digest != "" {
		p.Critical.Image.DockerManifestDigest = c.Digest
	}
	if c.Type != "" {
		p.Critical.Type = c.Type
	}
	raw, err := json.Marshal(p)
	check(t, err)
	return raw
}

// Sign signs the image that ref, with its digest, names, and adds the signature to those that it has.
func (k *Key) Sign(t testing.TB, ref string, c Claim) {
	t.Helper()
	of := digest(t, ref)
	Attach(t, of, k.signature(t, c.bytes(t, of)))
}

func (k *Key) signature(t testing.TB, content []byte, opts ...static.Option) oci.Signature {
	t.Helper()
	sig, err := static.NewSignature(content, k.sign(t, content), opts...)
	check(t, err)
	return sig
}

func (k *Key) sign(t testing.TB, content []byte) string {
	t.Helper()
	raw, err := k.signer.SignMessage(bytes.NewReader(content))
	check(t, err)
	return base64.StdEncoding.EncodeToString(raw)
}

// Tamper adds a signature whose content was changed after it was made.
func (k *Key) Tamper(t testing.TB, ref string) {
	t.Helper()
	of := digest(t, ref)
	content := Claim{}.bytes(t, of)
	sig, err := static.NewSignature(append(content, ' '), k.sign(t, content))
	check(t, err)
	Attach(t, of, sig)
}

// Bundle signs an image in the form that cosign has since its version 3: a statement of a type of predicate, "" for that of
// signatures, in an artifact that refers to the image.
func (k *Key) Bundle(t testing.TB, ref, predicate string) {
	t.Helper()
	of := digest(t, ref)
	statement, envelope, predicate := k.envelope(t, of, predicate)
	public, err := k.signer.PublicKey()
	check(t, err)
	raw, err := bundle.MakeNewBundle(public, nil, statement, envelope, k.PEM, nil)
	check(t, err)
	check(t, ociremote.WriteAttestationNewBundleFormat(of, raw, predicate))
}

// envelope is a signed statement about an image.
func (k *Key) envelope(t testing.TB, of name.Digest, predicate string) (statement, envelope []byte, kind string) {
	t.Helper()
	if predicate == "" {
		predicate = types.CosignSignPredicateType
	}
	algorithm, hex, _ := bytes.Cut([]byte(of.DigestStr()), []byte(":"))
	statement, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": attestation.CosignPredicate{},
		"subject": []any{map[string]any{"digest": map[string]string{string(algorithm): string(hex)}}},
	})
	check(t, err)
	envelope, err = dsse.WrapSigner(k.signer, types.IntotoPayloadType).SignMessage(bytes.NewReader(statement), options.WithContext(t.Context()))
	check(t, err)
	return statement, envelope, predicate
}

// Attach adds a signature to those of an image.
func Attach(t testing.TB, of name.Digest, sig oci.Signature) {
	t.Helper()
	entity, err := ociremote.SignedEntity(of)
	check(t, err)
	signed, err := mutate.AttachSignatureToEntity(entity, sig)
	check(t, err)
	check(t, ociremote.WriteSignatures(of.Repository, signed))
}

func digest(t testing.TB, ref string) name.Digest {
	t.Helper()
	d, err := name.NewDigest(ref)
	check(t, err)
	return d
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
