package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// The names of a key's files in a Secret, as "cosign generate-key-pair k8s://…" makes it, and cosign's variable.
const (
	keyFile          = "cosign.key"
	passwordFile     = "cosign.password"
	passwordVariable = "COSIGN_PASSWORD"
)

// key is a private key that the user has.
type key struct {
	signature.SignerVerifier
	public    crypto.PublicKey
	pem       string
	sum       [sha256.Size]byte // of the public key
	algorithm signature.AlgorithmDetails
}

// readKey reads and decrypts a key; Options.Key says where from.
func readKey(ref string) (*key, error) {
	where, encrypted, beside, err := findKey(ref)
	if err != nil {
		return nil, err
	}
	password, origin, err := findPassword(beside)
	if err != nil {
		return nil, err
	}
	sv, err := cosign.LoadPrivateKey(encrypted, password, &[]signature.LoadOption{})
	if err != nil {
		return nil, fmt.Errorf("the signing key %s cannot be read with %s: %w (it is one that \"cosign generate-key-pair\" or \"cosign import-key-pair\" made)", where, origin, err)
	}
	return newKey(sv)
}

// findKey reads the key as it is stored, and gives the directory that may have its password.
func findKey(ref string) (where string, content []byte, beside string, err error) {
	if strings.Contains(ref, "-----BEGIN") || strings.ContainsAny(ref, "\n\r") {
		return "", nil, "", errors.New("what is given as the place of the signing key is a key itself: give its file, or env://NAME")
	}
	if name, ok := strings.CutPrefix(ref, "env://"); ok {
		value, set := os.LookupEnv(name)
		if !set || value == "" {
			return "", nil, "", fmt.Errorf("the signing key is to be in the environment as %s, which is not set", name)
		}
		return ref, []byte(value), "", nil
	}
	if scheme, _, ok := strings.Cut(ref, "://"); ok || strings.HasPrefix(ref, "pkcs11:") {
		scheme, _, _ = strings.Cut(scheme, ":")
		return "", nil, "", fmt.Errorf("signing keys of %s: are not built in: give a file, a directory with %s, or env://NAME, or sign keyless", scheme, keyFile)
	}
	file := ref
	if info, err := os.Stat(ref); err == nil && info.IsDir() {
		file = filepath.Join(ref, keyFile)
	}
	content, err = os.ReadFile(file)
	if err != nil {
		return "", nil, "", fmt.Errorf("reading the signing key: %w", err)
	}
	return file, content, filepath.Dir(file), nil
}

// findPassword finds the password of a key, and says where it was.
func findPassword(beside string) (password []byte, origin string, err error) {
	if beside != "" {
		file := filepath.Join(beside, passwordFile)
		password, err := os.ReadFile(file)
		if err == nil {
			// A line's end is the editor's.
			return bytes.TrimRight(password, "\r\n"), "the password in " + file, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("reading the signing key's password: %w", err)
		}
	}
	if password, set := os.LookupEnv(passwordVariable); set {
		return []byte(password), "the password in $" + passwordVariable, nil
	}
	return nil, "an empty password, for there is neither " + passwordFile + " beside it nor $" + passwordVariable, nil
}

func newKey(sv signature.SignerVerifier) (*key, error) {
	public, err := sv.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("the signing key has no public key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(public)
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	// Without options: of Ed25519's two kinds, the one that "cosign verify" takes.
	algorithm, err := signature.GetDefaultAlgorithmDetails(public)
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	return &key{sv, public, string(pem), sha256.Sum256(der), algorithm}, nil
}

// checkLog refuses to enter signatures into a log that it or cosign's classic format has no entries for.
func (k *key) checkLog() error {
	if k.algorithm.GetHashType() == crypto.SHA256 {
		return nil
	}
	return fmt.Errorf("signatures of this kind of %s key cannot be entered into the transparency log: do without, or use RSA or ECDSA P-256", k.GetKeyAlgorithm())
}

// credential implements holder.
func (k *key) credential(context.Context) (*credential, error) { return &credential{keypair: k}, nil }

// String implements holder.
func (k *key) String() string { return "key SHA256:" + hex.EncodeToString(k.sum[:]) }

// trustedWith is trusted with this key, or nil if nothing is trusted.
func (k *key) trustedWith(trusted root.TrustedMaterial) root.TrustedMaterial {
	if trusted == nil {
		return nil
	}
	always := root.NewExpiringKey(k.SignerVerifier, time.Time{}, time.Time{})
	return &withKey{trusted, always}
}

type withKey struct {
	root.TrustedMaterial
	key root.TimeConstrainedVerifier
}

// PublicKeyVerifier implements root.TrustedMaterial.
func (w *withKey) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) { return w.key, nil }

// What follows implements sign.Keypair.

// GetHashAlgorithm is that of the digest that SignData gives.
func (k *key) GetHashAlgorithm() protocommon.HashAlgorithm {
	if k.algorithm.GetHashType() == 0 {
		return protocommon.HashAlgorithm_SHA2_256
	}
	return k.algorithm.GetProtoHashType()
}

// GetSigningAlgorithm is that of the signature.
func (k *key) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return k.algorithm.GetSignatureAlgorithm()
}

// GetHint is how verifiers find the key among theirs.
func (k *key) GetHint() []byte { return []byte(base64.StdEncoding.EncodeToString(k.sum[:])) }

// GetKeyAlgorithm is the kind of key.
func (k *key) GetKeyAlgorithm() string {
	switch k.public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA"
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "ED25519"
	}
	return ""
}

// GetPublicKey returns the public key.
func (k *key) GetPublicKey() crypto.PublicKey { return k.public }

// GetPublicKeyPem returns the public key as PEM.
func (k *key) GetPublicKeyPem() (string, error) { return k.pem, nil }

// SignData gives the signature and the digest that it is over.
func (k *key) SignData(ctx context.Context, data []byte) (signed, digest []byte, err error) {
	kind := k.algorithm.GetHashType()
	if kind == 0 { // Ed25519 signs the data itself; the digest only names them
		sum := sha256.Sum256(data)
		signed, err = k.SignMessage(bytes.NewReader(data), options.WithContext(ctx))
		return signed, sum[:], err
	}
	h := kind.New()
	_, _ = h.Write(data) // never fails
	digest = h.Sum(nil)
	signed, err = k.SignMessage(bytes.NewReader(data), options.WithContext(ctx), options.WithDigest(digest))
	return signed, digest, err
}
