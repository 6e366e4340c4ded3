package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Signed requires a sigstore signature. Exactly one of Keys, Fulcio and PKI is set.
type Signed struct {
	// Keys are public keys, one of which made the signature.
	Keys []crypto.PublicKey
	// Fulcio says whose short-lived certificates count, PKI whose long-lived ones.
	Fulcio *Fulcio
	PKI    *PKI
	// Rekor are the keys of transparency logs, one of which must have the signature; none where it need not be in any.
	Rekor []*ecdsa.PublicKey
	// Identity is which image the signature must name.
	Identity *Identity
}

// Fulcio describes a certificate that a Fulcio gave somebody for one signature.
type Fulcio struct {
	CAs    []*x509.Certificate
	Issuer string // who vouched for the identity, by OpenID Connect
	// Who it is: one of an e-mail address, a URI, and a regular expression that matches all of either. The latter
	// two are Slipway's own.
	Email, URI, Pattern string
}

// PKI describes a certificate of any authority. Email and Hostname must both be in it, where they are set.
type PKI struct {
	Roots, Intermediates []*x509.Certificate
	Email, Hostname      string
}

// files are what one or several of the fields with paths and data give.
type files struct {
	given    []string // names of fields
	contents [][]byte
}

// places are where the values of the four fields go that there are for one thing: NAMEPath, NAMEPaths, NAMEData and NAMEDatas.
// Of some things there is but one, and no plural.
func (f *files) places(x imagesParser, name string, plural bool, places map[string]any) {
	read := func(paths []string) (contents [][]byte, err error) {
		for _, path := range paths {
			content, err := x.read(path)
			if err != nil {
				return nil, err
			}
			contents = append(contents, content)
		}
		return contents, nil
	}
	places[name+"Path"] = add(f, name+"Path", func(path string) ([][]byte, error) { return read([]string{path}) })
	places[name+"Data"] = add(f, name+"Data", func(data []byte) ([][]byte, error) { return [][]byte{data}, nil })
	if plural {
		places[name+"Paths"] = add(f, name+"Paths", read)
		places[name+"Datas"] = add(f, name+"Datas", func(data [][]byte) ([][]byte, error) { return data, nil })
	}
}

// add takes the value of a field, of which contents makes contents.
func add[V any](f *files, name string, contents func(V) ([][]byte, error)) func([]byte) error {
	return func(raw []byte) error {
		var v V
		if err := put(&v, raw); err != nil {
			return err
		}
		all, err := contents(v)
		if err == nil && len(all) == 0 {
			err = errors.New("it lists nothing")
		}
		f.given, f.contents = append(f.given, name), append(f.contents, all...)
		return err
	}
}

// signed reads a sigstoreSigned.
func (x imagesParser) signed(data []byte) (*Signed, error) {
	s := &Signed{Identity: &Identity{kind: matchRepoDigestOrExact}}
	var kind string
	var keys, rekor files
	places := map[string]any{
		"type":   &kind,
		"fulcio": func(data []byte) (err error) { s.Fulcio, err = x.fulcio(data); return err },
		"pki":    func(data []byte) (err error) { s.PKI, err = x.pki(data); return err },
		"signedIdentity": func(data []byte) (err error) {
			s.Identity, err = parseIdentity(data)
			return err
		},
	}
	keys.places(x, "key", true, places)
	rekor.places(x, "rekorPublicKey", true, places)
	if err := object(data, func(name string) any { return places[name] }); err != nil {
		return nil, err
	}
	if s.Fulcio != nil {
		keys.given = append(keys.given, "fulcio")
	}
	if s.PKI != nil {
		keys.given = append(keys.given, "pki")
	}
	switch {
	case len(keys.given) != 1:
		return nil, exactlyOne(keys.given, "keyPath, keyPaths, keyData, keyDatas, fulcio and pki")
	case len(rekor.given) > 1:
		return nil, exactlyOne(rekor.given, "rekorPublicKeyPath, rekorPublicKeyPaths, rekorPublicKeyData and rekorPublicKeyDatas")
	case s.Fulcio != nil && len(rekor.given) == 0:
		return nil, errors.New("fulcio needs the key of a transparency log, which tells when a certificate was used: rekorPublicKeyPath and the like")
	case s.PKI != nil && len(rekor.given) > 0:
		return nil, errors.New("pki and the key of a transparency log exclude each other")
	}
	return s, s.decode(&keys, &rekor)
}

func exactlyOne(given []string, of string) error {
	if len(given) == 0 {
		return fmt.Errorf("one of %s is needed", of)
	}
	slices.Sort(given)
	return fmt.Errorf("there is one of %s, not %s", of, strings.Join(given, " and "))
}

// decode reads the keys.
func (s *Signed) decode(keys, rekor *files) error {
	for _, content := range keys.contents {
		key, err := cryptoutils.UnmarshalPEMToPublicKey(content)
		if err != nil {
			return fmt.Errorf("public key: %w", err)
		}
		s.Keys = append(s.Keys, key)
	}
	for _, content := range rekor.contents {
		key, err := cryptoutils.UnmarshalPEMToPublicKey(content)
		if err != nil {
			return fmt.Errorf("public key of Rekor: %w", err)
		}
		ecdsaKey, ok := key.(*ecdsa.PublicKey)
		if !ok {
			return errors.New("public key of Rekor: it is not one for ECDSA")
		}
		s.Rekor = append(s.Rekor, ecdsaKey)
	}
	return nil
}

func (x imagesParser) fulcio(data []byte) (*Fulcio, error) {
	f := &Fulcio{}
	var ca files
	places := map[string]any{"oidcIssuer": &f.Issuer, "subjectEmail": &f.Email, "subjectURI": &f.URI, "subjectRegExp": &f.Pattern}
	ca.places(x, "ca", false, places)
	if err := object(data, func(name string) any { return places[name] }); err != nil {
		return nil, err
	}
	var subjects []string
	for name, value := range map[string]string{"subjectEmail": f.Email, "subjectURI": f.URI, "subjectRegExp": f.Pattern} {
		if value != "" {
			subjects = append(subjects, name)
		}
	}
	switch {
	case len(ca.given) != 1:
		return nil, exactlyOne(ca.given, "caPath and caData")
	case f.Issuer == "":
		return nil, errors.New("there is no oidcIssuer")
	case len(subjects) != 1:
		return nil, exactlyOne(subjects, "subjectEmail, subjectURI and subjectRegExp")
	}
	if _, err := regexp.Compile(f.Pattern); err != nil {
		return nil, fmt.Errorf("subjectRegExp: %w", err)
	}
	var err error
	f.CAs, err = ca.certificates()
	return f, err
}

func (x imagesParser) pki(data []byte) (*PKI, error) {
	p := &PKI{}
	var roots, intermediates files
	places := map[string]any{"subjectEmail": &p.Email, "subjectHostname": &p.Hostname}
	roots.places(x, "caRoots", false, places)
	intermediates.places(x, "caIntermediates", false, places)
	if err := object(data, func(name string) any { return places[name] }); err != nil {
		return nil, err
	}
	switch {
	case len(roots.given) != 1:
		return nil, exactlyOne(roots.given, "caRootsPath and caRootsData")
	case len(intermediates.given) > 1:
		return nil, exactlyOne(intermediates.given, "caIntermediatesPath and caIntermediatesData")
	case p.Email == "" && p.Hostname == "":
		return nil, errors.New("one of subjectEmail and subjectHostname is needed")
	}
	var err error
	if p.Roots, err = roots.certificates(); err != nil {
		return nil, err
	}
	p.Intermediates, err = intermediates.certificates()
	return p, err
}

// certificates reads contents that are certificates.
func (f *files) certificates() ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, content := range f.contents {
		some, err := cryptoutils.UnmarshalCertificatesFromPEM(content)
		if err == nil && len(some) == 0 {
			err = errors.New("there are none in it")
		}
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}
