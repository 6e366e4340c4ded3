package attest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/util/purl"
	"github.com/package-url/packageurl-go"

	"github.com/slipway-build/slipway/pkg/image"
)

// Subject is what a statement is about: an image by its digest, under each of its names.
type Subject struct {
	Names    []string // references, such as "registry.example/app:v1"; none for an image that has none
	Platform v1.Platform
	Digest   v1.Hash
}

// statement is in-toto's (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md). The library for it has protocol buffers, whose
// JSON is not the same each time.
type statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// subject is a resource descriptor with what a subject needs.
type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// statementType is the version of the format.
const statementType = "https://in-toto.io/Statement/v1"

// NewStatement makes a statement (in-toto Attestation Framework v1, "Statement"). The names of subjects are package URLs, as
// BuildKit writes them; name is that of the file that it becomes among plain files.
func NewStatement(name, predicateType string, predicate json.RawMessage, about Subject) (image.Statement, error) {
	digest := map[string]string{about.Digest.Algorithm: about.Digest.Hex}
	var subjects []subject
	platform := image.OCIPlatform(about.Platform)
	for _, ref := range about.Names {
		p, err := purl.RefToPURL(packageurl.TypeDocker, ref, &platform)
		if err != nil {
			return image.Statement{}, fmt.Errorf("attestation about %s: %w", ref, err)
		}
		subjects = append(subjects, subject{Name: p, Digest: digest})
	}
	if len(subjects) == 0 {
		subjects = []subject{{Name: "_", Digest: digest}} // what the specification has for nameless ones
	}
	return encode(name, predicateType, predicate, subjects)
}

// NewStatementAbout makes a statement about other things than images, by their names with algorithms and digests.
func NewStatementAbout(name, predicateType string, predicate json.RawMessage, about map[string]map[string]string) (image.Statement, error) {
	var subjects []subject
	for _, n := range slices.Sorted(maps.Keys(about)) {
		subjects = append(subjects, subject{Name: n, Digest: about[n]})
	}
	return encode(name, predicateType, predicate, subjects)
}

func encode(name, predicateType string, predicate json.RawMessage, subjects []subject) (image.Statement, error) {
	content, err := json.Marshal(statement{Type: statementType, PredicateType: predicateType, Subject: subjects, Predicate: predicate})
	return image.Statement{Name: name, PredicateType: predicateType, Content: content}, err
}
