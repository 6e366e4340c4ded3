// Package sigstore is a Sigstore on loopback for tests: a certificate authority that speaks Fulcio's protocol, a transparency log that speaks
// Rekor's, a timestamp authority (RFC 3161), and an issuer of identity tokens. Certificates, entries and timestamps are real, and what
// is sent to it is verified as the real services do; only the keys are of the moment.
package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// Sigstore runs until the end of its test.
type Sigstore struct {
	// FulcioURL, RekorURL and TSAURL are what users give.
	FulcioURL, RekorURL, TSAURL string

	fulcio *authority
	rekor  *logServer
	tsa    *timestamper

	mu    sync.Mutex
	front map[string]func(http.ResponseWriter, *http.Request) bool
	seen  map[string]int
}

// The names of the services, for Before and Requests.
const (
	Fulcio = "fulcio"
	Rekor  = "rekor"
	TSA    = "tsa"
)

// Serve starts a Sigstore.
func Serve(t testing.TB) *Sigstore {
	t.Helper()
	s := &Sigstore{front: map[string]func(http.ResponseWriter, *http.Request) bool{}, seen: map[string]int{}}
	rootCert, rootKey, err := ca.GenerateRootCa()
	check(t, err)
	s.fulcio = newAuthority(t, rootCert, rootKey)
	s.rekor = newLog(t)
	s.tsa = newTimestamper(t, rootCert, rootKey)
	s.FulcioURL = s.serve(t, Fulcio, s.fulcio)
	s.RekorURL = s.serve(t, Rekor, s.rekor)
	s.TSAURL = s.serve(t, TSA, s.tsa) + "/api/v1/timestamp"
	return s
}

func (s *Sigstore) serve(t testing.TB, name string, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen[name]++
		before := s.front[name]
		s.mu.Unlock()
		if before == nil || !before(w, r) {
			h.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Before lets f see each request to a service first; if it returns true, it has answered it. Nil ends that.
func (s *Sigstore) Before(service string, f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.front[service] = f
}

// Requests says how many requests a service has got.
func (s *Sigstore) Requests(service string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[service]
}

// ServeRekor serves a request to the log, for what Before has done something with.
func (s *Sigstore) ServeRekor(w http.ResponseWriter, r *http.Request) { s.rekor.ServeHTTP(w, r) }

// Entries says how many entries the log has.
func (s *Sigstore) Entries() int { return s.rekor.size() }

// TrustedRoot is what verifiers trust.
func (s *Sigstore) TrustedRoot(t testing.TB) *root.TrustedRoot {
	t.Helper()
	public := s.rekor.key.Public()
	id := logID(t, public)
	start, end := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: s.fulcio.root, Intermediates: []*x509.Certificate{s.fulcio.intermediate}, ValidityPeriodStart: start, ValidityPeriodEnd: end, URI: s.FulcioURL,
		}},
		nil,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: s.tsa.root, Intermediates: []*x509.Certificate{s.tsa.intermediate}, Leaf: s.tsa.leaf, ValidityPeriodStart: start, ValidityPeriodEnd: end, URI: s.TSAURL,
		}},
		map[string]*root.TransparencyLog{hex.EncodeToString(id): {
			BaseURL: s.RekorURL, ID: id, ValidityPeriodStart: start, ValidityPeriodEnd: end,
			HashFunc: crypto.SHA256, PublicKey: public, SignatureHashFunc: crypto.SHA256,
		}})
	check(t, err)
	return trusted
}

// TrustedRootFile is the file trusted_root.json.
func (s *Sigstore) TrustedRootFile(t testing.TB) string {
	t.Helper()
	return write(t, "trusted_root.json", s.TrustedRoot(t))
}

// SigningConfigFile is a file signing_config.v0.2.json that names all services.
func (s *Sigstore) SigningConfigFile(t testing.TB) string {
	t.Helper()
	at := func(url string) []root.Service {
		return []root.Service{{URL: url, MajorAPIVersion: 1, ValidityPeriodStart: time.Now().Add(-time.Hour), Operator: "test"}}
	}
	any := root.ServiceConfiguration{Selector: prototrustroot.ServiceSelector_ANY}
	conf, err := root.NewSigningConfig(root.SigningConfigMediaType02, at(s.FulcioURL), nil, at(s.RekorURL), any, at(s.TSAURL), any)
	check(t, err)
	return write(t, "signing_config.v0.2.json", conf)
}

func write(t testing.TB, name string, content json.Marshaler) string {
	t.Helper()
	data, err := content.MarshalJSON()
	check(t, err)
	file := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(file, data, 0o600))
	return file
}

// logID is the identity of a log: the digest of its public key.
func logID(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	check(t, err)
	sum := sha256.Sum256(der)
	return sum[:]
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refuse answers as the services do.
func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"code": status, "message": message})
}

func answer(w http.ResponseWriter, status int, content map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(content); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
}
