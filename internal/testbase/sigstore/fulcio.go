package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Issuer is who made the tokens.
const Issuer = "https://kubernetes.default.svc"

// audience is whom the tokens must be for.
const audience = "sigstore"

// authority is a Fulcio for tokens of service accounts, as a cluster makes them.
type authority struct {
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // of intermediate
	issuer             *ecdsa.PrivateKey // of the tokens
}

func newAuthority(t testing.TB, rootCert *x509.Certificate, rootKey *ecdsa.PrivateKey) *authority {
	t.Helper()
	intermediate, key, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	check(t, err)
	return &authority{rootCert, intermediate, key, newKey(t)}
}

// Identity is what a certificate names for a service account.
func Identity(namespace, account string) string {
	return "https://kubernetes.io/namespaces/" + namespace + "/serviceaccounts/" + account
}

// Token makes an identity token for a service account, for the usual audience.
func (s *Sigstore) Token(t testing.TB, namespace, account string, lifetime time.Duration) string {
	t.Helper()
	return s.TokenFor(t, audience, namespace, account, lifetime)
}

// TokenFor is Token with any audience.
func (s *Sigstore) TokenFor(t testing.TB, audience, namespace, account string, lifetime time.Duration) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.fulcio.issuer}, (&jose.SignerOptions{}).WithType("JWT"))
	check(t, err)
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: Issuer, Subject: "system:serviceaccount:" + namespace + ":" + account, Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), Expiry: jwt.NewNumericDate(now.Add(lifetime)),
	}).Serialize()
	check(t, err)
	return token
}

// ServeHTTP implements http.Handler: Fulcio's API v2.
func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/api/v2/signingCert" {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	subject, err := a.authenticate(r)
	if err != nil {
		refuse(w, http.StatusUnauthorized, "There was an error processing the identity token: "+err.Error())
		return
	}
	public, err := requestedKey(r, subject)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	leaf, err := a.issue(subject, public)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	var chain []string
	for _, c := range []*x509.Certificate{leaf, a.intermediate, a.root} {
		pem, err := cryptoutils.MarshalCertificateToPEM(c)
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		chain = append(chain, string(pem))
	}
	answer(w, http.StatusOK, map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}})
}

// authenticate verifies the token, and returns its subject.
func (a *authority) authenticate(r *http.Request) (string, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", errors.New("there is none")
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	if err := token.Claims(a.issuer.Public(), &claims); err != nil {
		return "", err
	}
	return claims.Subject, claims.ValidateWithLeeway(jwt.Expected{Issuer: Issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()}, 0)
}

// requestedKey is the key to certify, whose owner must have signed the subject.
func requestedKey(r *http.Request, subject string) (crypto.PublicKey, error) {
	var request struct {
		PublicKeyRequest struct {
			PublicKey struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			ProofOfPossession string `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, err
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(request.PublicKeyRequest.PublicKey.Content))
	if err != nil {
		return nil, err
	}
	proof, err := base64.StdEncoding.DecodeString(request.PublicKeyRequest.ProofOfPossession)
	if err != nil {
		return nil, err
	}
	verifier, err := signature.LoadDefaultVerifier(public)
	if err != nil {
		return nil, err
	}
	return public, verifier.VerifySignature(strings.NewReader(string(proof)), strings.NewReader(subject))
}

// issue makes a certificate for ten minutes.
func (a *authority) issue(subject string, public crypto.PublicKey) (*x509.Certificate, error) {
	parts := strings.Split(subject, ":") // system:serviceaccount:NAMESPACE:NAME
	if len(parts) != 4 {
		return nil, errors.New("this is no service account")
	}
	name, err := url.Parse(Identity(parts[2], parts[3]))
	if err != nil {
		return nil, err
	}
	issuer, err := asn1.MarshalWithParams(Issuer, "utf8")
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{name}, NotBefore: now, NotAfter: now.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: certificate.OIDIssuer, Value: []byte(Issuer)}, //nolint:staticcheck // older verifiers read it, and Fulcio writes it
			{Id: certificate.OIDIssuerV2, Value: issuer},
		},
	}, a.intermediate, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
