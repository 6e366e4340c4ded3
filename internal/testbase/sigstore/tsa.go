package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// timestamper is a timestamp authority.
type timestamper struct {
	root, intermediate, leaf *x509.Certificate
	key                      *ecdsa.PrivateKey // of leaf
}

func newTimestamper(t testing.TB, rootCert *x509.Certificate, rootKey *ecdsa.PrivateKey) *timestamper {
	t.Helper()
	intermediate, intermediateKey, err := ca.GenerateTSAIntermediate(rootCert, rootKey)
	check(t, err)
	key := newKey(t)
	leaf, err := ca.GenerateTSALeafCert(time.Now().Add(-time.Minute), key, intermediate, intermediateKey)
	check(t, err)
	return &timestamper{rootCert, intermediate, leaf, key}
}

// ServeHTTP implements http.Handler: RFC 3161 over HTTP.
func (s *timestamper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/timestamp-query" {
		refuse(w, http.StatusBadRequest, "this is no timestamp query")
		return
	}
	query, err := timestamp.ParseRequest(raw)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	stamp := timestamp.Timestamp{
		HashAlgorithm: query.HashAlgorithm, HashedMessage: query.HashedMessage, Nonce: query.Nonce, Time: time.Now(),
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, ExtraExtensions: query.Extensions,
	}
	answer, err := stamp.CreateResponseWithOpts(s.leaf, s.key, crypto.SHA256)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer)
}
