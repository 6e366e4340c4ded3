package cosigned

import (
	"crypto"
	"os"
	"path/filepath"
	"testing"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Password is that of private keys in files.
const Password = "correct horse"

// KeyPair is a key in files, as "cosign generate-key-pair" makes it.
type KeyPair struct {
	// Files are cosign.key, cosign.password and cosign.pub, with their content.
	Files    map[string]string
	Verifier signature.Verifier
}

// GenerateKeyPair makes a key.
func GenerateKeyPair() (*KeyPair, error) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte(Password), nil })
	if err != nil {
		return nil, err
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(pair.PublicBytes)
	if err != nil {
		return nil, err
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	return &KeyPair{
		Files:    map[string]string{"cosign.key": string(pair.PrivateBytes), "cosign.password": Password, "cosign.pub": string(pair.PublicBytes)},
		Verifier: verifier,
	}, err
}

// NewKeyPair makes a key for a test.
func NewKeyPair(t testing.TB) *KeyPair {
	t.Helper()
	k, err := GenerateKeyPair()
	check(t, err)
	return k
}

// Dir is a new directory with the files, as a mounted Secret is one.
func (k *KeyPair) Dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range k.Files {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}
