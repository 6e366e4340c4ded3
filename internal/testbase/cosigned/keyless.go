package cosigned

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/url"
	"testing"
	"time"

	dsselib "github.com/secure-systems-lab/go-securesystemslib/dsse"
	cosignbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"
)

// Sigstore is a Fulcio and a Rekor.
type Sigstore struct {
	Root, Intermediate []byte // certificates of Fulcio in PEM
	Rekor              []byte // public key in PEM

	virtual      *ca.VirtualSigstore
	intermediate *x509.Certificate
	key          crypto.Signer
}

// NewSigstore makes a sigstore that nobody else knows.
func NewSigstore(t testing.TB) *Sigstore {
	t.Helper()
	s := &Sigstore{}
	var err error
	s.virtual, err = ca.NewVirtualSigstore()
	check(t, err)
	root, rootKey := authority(t, "root", nil, nil)
	s.intermediate, s.key = authority(t, "intermediate", root, rootKey)
	s.Root, err = cryptoutils.MarshalCertificateToPEM(root)
	check(t, err)
	s.Intermediate, err = cryptoutils.MarshalCertificateToPEM(s.intermediate)
	check(t, err)
	for _, log := range s.virtual.RekorLogs() {
		s.Rekor, err = cryptoutils.MarshalPublicKeyToPEM(log.PublicKey)
		check(t, err)
	}
	return s
}

// authority makes one that exists since a year; those of the virtual sigstore are too young for old signatures, and give certificates
// for e-mail addresses only.
func authority(t testing.TB, called string, parent *x509.Certificate, by crypto.Signer) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: called},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true, IsCA: true,
	}
	if parent == nil {
		parent, by, template.ExtKeyUsage = template, key, nil
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	check(t, err)
	cert, err := x509.ParseCertificate(raw)
	check(t, err)
	return cert, key
}

// Identity is who signs.
type Identity struct {
	Issuer     string
	Email, URI string // one of them
	Host       string
	// Age is how long ago the certificate was given; it holds for ten minutes.
	Age time.Duration
	// LoggedAfter is how long after that the log got to know the signature; by default a minute.
	LoggedAfter time.Duration
	Unlogged    bool
}

// certificate is one for a new key.
func (s *Sigstore) certificate(t testing.TB, id Identity) (*x509.Certificate, *Key) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	begin := time.Now().Add(-id.Age)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    begin, NotAfter: begin.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		// Fulcio's extension for the issuer, in its first form.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(id.Issuer)}},
	}
	if id.Email != "" {
		template.EmailAddresses = []string{id.Email}
	}
	if id.Host != "" {
		template.DNSNames = []string{id.Host}
	}
	if id.URI != "" {
		u, err := url.Parse(id.URI)
		check(t, err)
		template.URIs = []*url.URL{u}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, s.intermediate, private.Public(), s.key)
	check(t, err)
	cert, err := x509.ParseCertificate(raw)
	check(t, err)
	return cert, loadKey(t, private)
}

// Sign signs the image that ref, with its digest, names, and adds the signature to those that it has.
func (s *Sigstore) Sign(t testing.TB, ref string, id Identity, c Claim) {
	t.Helper()
	of := digest(t, ref)
	content := c.bytes(t, of)
	cert, key := s.certificate(t, id)
	leaf, err := cryptoutils.MarshalCertificateToPEM(cert)
	check(t, err)
	opts := []static.Option{static.WithCertChain(leaf, append(s.Intermediate[:len(s.Intermediate):len(s.Intermediate)], s.Root...))}
	b64 := key.sign(t, content)
	if !id.Unlogged {
		opts = append(opts, static.WithBundle(s.log(t, content, b64, leaf, id.logged(cert))))
	}
	sig, err := static.NewSignature(content, b64, opts...)
	check(t, err)
	Attach(t, of, sig)
}

func (id Identity) logged(cert *x509.Certificate) time.Time {
	if id.LoggedAfter == 0 {
		return cert.NotBefore.Add(time.Minute)
	}
	return cert.NotBefore.Add(id.LoggedAfter)
}

// Log signs an image with a key, and puts the signature into the log.
func (s *Sigstore) Log(t testing.TB, ref string, key *Key, c Claim) {
	t.Helper()
	of := digest(t, ref)
	content := c.bytes(t, of)
	b64 := key.sign(t, content)
	sig, err := static.NewSignature(content, b64, static.WithBundle(s.log(t, content, b64, key.PEM, time.Now())))
	check(t, err)
	Attach(t, of, sig)
}

// log is an entry of the log, promised by it. verifier is the key or the certificate, in PEM.
func (s *Sigstore) log(t testing.TB, content []byte, b64 string, verifier []byte, at time.Time) *cosignbundle.RekorBundle {
	t.Helper()
	sum := sha256.Sum256(content)
	body, err := json.Marshal(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}},
		"signature": map[string]any{"content": b64, "publicKey": map[string]string{"content": base64.StdEncoding.EncodeToString(verifier)}},
	}})
	check(t, err)
	id, err := s.virtual.RekorLogID()
	check(t, err)
	p := cosignbundle.RekorPayload{Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: at.Unix(), LogIndex: 7, LogID: id}
	promise, err := s.virtual.RekorSignPayload(tlog.RekorPayload(p))
	check(t, err)
	return &cosignbundle.RekorBundle{SignedEntryTimestamp: promise, Payload: p}
}

// Bundle signs an image in the form that cosign has since its version 3, with an entry of the log.
func (s *Sigstore) Bundle(t testing.TB, ref string, id Identity) {
	t.Helper()
	of := digest(t, ref)
	cert, key := s.certificate(t, id)
	_, raw, predicate := key.envelope(t, of, "")
	var envelope dsselib.Envelope
	check(t, json.Unmarshal(raw, &envelope))
	sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	check(t, err)
	statement, err := envelope.DecodeB64Payload()
	check(t, err)
	entry, err := s.virtual.GenerateTlogEntry(cert, &envelope, sig, id.logged(cert).Unix(), true)
	check(t, err)
	logged := entry.TransparencyLogEntry()
	logged.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	log, err := s.virtual.RekorLogID()
	check(t, err)
	promise, err := s.virtual.RekorSignPayload(tlog.RekorPayload{
		Body:           base64.StdEncoding.EncodeToString(logged.GetCanonicalizedBody()),
		IntegratedTime: logged.GetIntegratedTime(), LogIndex: logged.GetLogIndex(), LogID: log,
	})
	check(t, err)
	logged.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	content, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{logged},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: envelope.PayloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	})
	check(t, err)
	check(t, ociremote.WriteAttestationNewBundleFormat(of, content, predicate))
}
