package sign

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/in-toto/in-toto-golang/in_toto"
	slsa02 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v0.2"
	slsa1 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign/attestation"
)

// Cosign's names for types of predicates that are not JSON as they are.
const (
	typeCustom = "custom"
	typeSPDX   = "spdx"
)

// predicateTypes are cosign's short names for types of predicates.
func predicateTypes() map[string]string {
	return map[string]string{
		typeCustom:         attestation.CosignCustomProvenanceV01,
		"slsaprovenance":   slsa02.PredicateSLSAProvenance,
		"slsaprovenance02": slsa02.PredicateSLSAProvenance,
		"slsaprovenance1":  slsa1.PredicateSLSAProvenance,
		typeSPDX:           in_toto.PredicateSPDX,
		"spdxjson":         in_toto.PredicateSPDX,
		"cyclonedx":        in_toto.PredicateCycloneDX,
		"link":             in_toto.PredicateLinkV1,
		"vuln":             attestation.CosignVulnProvenanceV01,
		"openvex":          attestation.OpenVexNamespace,
	}
}

// CheckPredicateType refuses what is neither one of cosign's short names nor a URI.
func CheckPredicateType(kind string) error {
	_, err := predicateURI(kind)
	return err
}

func predicateURI(kind string) (string, error) {
	known := predicateTypes()
	if uri, ok := known[kind]; ok {
		return uri, nil
	}
	if u, err := url.Parse(kind); err != nil || u.Scheme == "" {
		return "", fmt.Errorf("%q is no type of predicate: it is a URI, or one of %s", kind, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return kind, nil
}

// Statement is the in-toto statement (version 1) that has a predicate of the given type, one of cosign's short names or a URI, about
// an image. A predicate is JSON, and gets into the statement as it is; only "spdx" is text, and "custom" anything, which is wrapped
// together with the time.
func Statement(subject name.Digest, kind string, predicate []byte) ([]byte, error) {
	uri, err := predicateURI(kind)
	if err != nil {
		return nil, err
	}
	content := any(json.RawMessage(predicate))
	switch {
	case kind == typeCustom:
		content = attestation.CosignPredicate{Data: string(predicate), Timestamp: time.Now().UTC().Format(time.RFC3339)}
	case kind == typeSPDX:
		content = string(predicate)
	case !json.Valid(predicate):
		return nil, errors.New("the predicate is not JSON")
	}
	algorithm, sum, _ := strings.Cut(subject.DigestStr(), ":")
	type resource struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	return json.Marshal(struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     any        `json:"predicate"`
	}{statementType, []resource{{subject.Repository.Name(), map[string]string{algorithm: sum}}}, uri, content})
}
