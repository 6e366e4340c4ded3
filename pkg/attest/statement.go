package attest

import (
	"encoding/json"
	"fmt"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	"github.com/moby/buildkit/util/purl"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
)

// Subject is what a statement is about: an image by its digest, under each of its names.
type Subject struct {
	Names    []string // references, such as "registry.example/app:v1"; none for an image that has none
	Platform v1.Platform
	Digest   v1.Hash
}

// NewStatement makes a statement (in-toto Attestation Framework v1, "Statement"). The names of subjects are package URLs, as
// BuildKit writes them; name is that of the file that it becomes among plain files.
func NewStatement(name, predicateType string, predicate json.RawMessage, about Subject) (image.Statement, error) {
	digest := common.DigestSet{about.Digest.Algorithm: about.Digest.Hex}
	var subjects []intoto.Subject
	for _, ref := range about.Names {
		p, err := purl.RefToPURL(packageurl.TypeDocker, ref, &ocispec.Platform{
			OS: about.Platform.OS, Architecture: about.Platform.Architecture, Variant: about.Platform.Variant,
			OSVersion: about.Platform.OSVersion, OSFeatures: about.Platform.OSFeatures,
		})
		if err != nil {
			return image.Statement{}, fmt.Errorf("attestation about %s: %w", ref, err)
		}
		subjects = append(subjects, intoto.Subject{Name: p, Digest: digest})
	}
	if len(subjects) == 0 {
		subjects = []intoto.Subject{{Name: "_", Digest: digest}} // what the specification has for nameless ones
	}
	content, err := json.Marshal(intoto.Statement{
		StatementHeader: intoto.StatementHeader{Type: intoto.StatementInTotoV1, PredicateType: predicateType, Subject: subjects},
		Predicate:       predicate,
	})
	return image.Statement{Name: name, PredicateType: predicateType, Content: content}, err
}
