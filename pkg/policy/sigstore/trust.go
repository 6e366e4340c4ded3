package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	sigs "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/tuf"

	"github.com/slipway-build/slipway/pkg/policy"
)

// offline are options by which nobody is asked. Certificates need no proof that they are in a log of certificates: the
// policy names the authority.
func offline(s *policy.Signed) (*cosign.CheckOpts, error) {
	co := &cosign.CheckOpts{Offline: true, IgnoreSCT: true, IgnoreTlog: len(s.Rekor) == 0}
	logs := cosign.NewTrustedTransparencyLogPubKeys()
	for _, key := range s.Rekor {
		pem, err := cryptoutils.MarshalPublicKeyToPEM(key)
		if err != nil {
			return nil, err
		}
		if err := logs.AddTransparencyLogPubKey(pem, tuf.Active); err != nil {
			return nil, err
		}
	}
	co.RekorPubKeys = &logs
	return co, nil
}

// keyOptions are for signatures with a key.
func keyOptions(key crypto.PublicKey, s *policy.Signed) (*cosign.CheckOpts, error) {
	co, err := offline(s)
	if err != nil {
		return nil, err
	}
	co.SigVerifier, err = sigs.LoadVerifier(key, crypto.SHA256)
	return co, err
}

// certificateOptions are for signatures with a certificate. chain is what the signature brings along of the way to a root,
// which is not trusted.
func certificateOptions(s *policy.Signed, chain []byte) (*cosign.CheckOpts, error) {
	co, err := offline(s)
	if err != nil {
		return nil, err
	}
	co.RootCerts, co.IntermediateCerts = x509.NewCertPool(), x509.NewCertPool()
	if len(bytes.TrimSpace(chain)) > 0 {
		certs, err := cryptoutils.UnmarshalCertificatesFromPEM(chain)
		if err != nil {
			return nil, fmt.Errorf("its certificates: %w", err)
		}
		addAll(co.IntermediateCerts, certs)
	}
	if f := s.Fulcio; f != nil {
		addAll(co.RootCerts, f.CAs)
		co.Identities = []cosign.Identity{{Issuer: f.Issuer, Subject: f.Email + f.URI}}
		if f.Pattern != "" {
			co.Identities[0].SubjectRegExp = whole(f.Pattern)
		}
		return co, nil
	}
	addAll(co.RootCerts, s.PKI.Roots)
	addAll(co.IntermediateCerts, s.PKI.Intermediates)
	return co, nil
}

// whole makes a regular expression match all of a text or nothing.
func whole(pattern string) string { return "^(?:" + pattern + ")$" }

func addAll(pool *x509.CertPool, certs []*x509.Certificate) {
	for _, c := range certs {
		pool.AddCert(c)
	}
}

// checkSubject compares the subject of a certificate that is trusted: cosign's library does not tell kinds of names apart, and knows
// no policy for others than Fulcio.
func checkSubject(c *x509.Certificate, s *policy.Signed) error {
	if c == nil {
		return errors.New("it has no certificate")
	}
	var uris []string
	for _, u := range c.URIs {
		uris = append(uris, u.String())
	}
	var email string
	switch f := s.Fulcio; {
	case f == nil:
		email = s.PKI.Email
		if host := s.PKI.Hostname; host != "" {
			if err := c.VerifyHostname(host); err != nil {
				return err
			}
		}
	case f.URI != "":
		if !slices.Contains(uris, f.URI) {
			return fmt.Errorf("its certificate is for %s, not for %s", names(c.EmailAddresses, uris), f.URI)
		}
	case f.Pattern != "":
		r, err := regexp.Compile(whole(f.Pattern))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(slices.Concat(c.EmailAddresses, uris), r.MatchString) {
			return fmt.Errorf("its certificate is for %s, which %s does not match", names(c.EmailAddresses, uris), f.Pattern)
		}
	default:
		email = f.Email
	}
	if email != "" && !slices.Contains(c.EmailAddresses, email) {
		return fmt.Errorf("its certificate is for %s, not for %s", names(c.EmailAddresses, uris), email)
	}
	return nil
}

func names(emails, uris []string) string {
	if all := slices.Concat(emails, uris); len(all) > 0 {
		return strings.Join(all, ", ")
	}
	return "nobody"
}

// material is what a policy trusts, as sigstore's library for bundles wants it.
type material struct {
	root.BaseTrustedMaterial
	authorities []root.CertificateAuthority
	logs        map[string]*root.TransparencyLog
}

func newMaterial(s *policy.Signed) (*material, error) {
	m := &material{logs: map[string]*root.TransparencyLog{}}
	anchors, further := []*x509.Certificate(nil), []*x509.Certificate(nil)
	switch {
	case s.Fulcio != nil:
		anchors, further = s.Fulcio.CAs, s.Fulcio.CAs
	case s.PKI != nil:
		anchors, further = s.PKI.Roots, s.PKI.Intermediates
	}
	for _, c := range anchors {
		m.authorities = append(m.authorities, &root.FulcioCertificateAuthority{Root: c, Intermediates: further})
	}
	for _, key := range s.Rekor {
		log, id, err := transparencyLog(key)
		if err != nil {
			return nil, err
		}
		m.logs[id] = log
	}
	return m, nil
}

func transparencyLog(key *ecdsa.PublicKey) (*root.TransparencyLog, string, error) {
	id, err := cosign.GetTransparencyLogID(key)
	if err != nil {
		return nil, "", err
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		return nil, "", err
	}
	// The library wants a beginning of the time that the key is valid, and a policy has none.
	return &root.TransparencyLog{ID: raw, ValidityPeriodStart: time.Unix(0, 0), HashFunc: crypto.SHA256, PublicKey: key, SignatureHashFunc: crypto.SHA256}, id, nil
}

// FulcioCertificateAuthorities implements root.TrustedMaterial.
func (m *material) FulcioCertificateAuthorities() []root.CertificateAuthority { return m.authorities }

// RekorLogs implements root.TrustedMaterial.
func (m *material) RekorLogs() map[string]*root.TransparencyLog { return m.logs }
