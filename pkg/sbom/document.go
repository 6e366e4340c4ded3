package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/osv-scalibr/purl"
	"github.com/google/uuid"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Document says what a bill of materials is about and how it came about. What documents are made
// of is in here and in the inventory: the same gives the same bytes.
type Document struct {
	// Name is what the image is called: a reference without digest, or anything else. It may be empty.
	Name string
	// Digest is that of the image's manifest, "sha256:…".
	Digest string
	// Created is the time of the build.
	Created time.Time
	// Version is that of slipway.
	Version string
	// LayerDigest gives the digest by which the image knows a layer, "" if it has none. It may be
	// nil: then locations are without layers.
	LayerDigest func(layer.Layer) string
}

// toolHome is where the tool that makes documents comes from.
const toolHome = "https://github.com/slipway-build/slipway"

// title is the name of the image, which has to have one.
func (d *Document) title() string {
	if d.Name == "" {
		return "image"
	}
	return d.Name
}

// version is the version of slipway in a form that can follow a hyphen.
func (d *Document) version() string {
	if d.Version == "" {
		return "devel"
	}
	return d.Version
}

// created is the time in the only form that SPDX knows.
func (d *Document) created() string { return d.Created.UTC().Format("2006-01-02T15:04:05Z") }

// id is a UUID for the document in one format: of what it is about instead of at random.
func (d *Document) id(format string) uuid.UUID {
	about := strings.Join([]string{format, d.title(), d.Digest, d.created(), d.version()}, "\x00")
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(toolHome+"\x00"+about))
}

// purl is the package URL of the image, "" if its name is no reference.
func (d *Document) purl() string {
	ref, err := name.ParseReference(d.Name)
	if err != nil || d.Digest == "" {
		return ""
	}
	repository := ref.Context().Name()
	qualifiers := map[string]string{"repository_url": strings.ToLower(repository)}
	if tag, ok := ref.(name.Tag); ok {
		qualifiers["tag"] = tag.TagStr()
	}
	u := purl.PackageURL{
		Type: purl.TypeOCI, Name: strings.ToLower(repository[strings.LastIndexByte(repository, '/')+1:]),
		Version: d.Digest, Qualifiers: purl.QualifiersFromMap(qualifiers),
	}
	return u.String()
}

// sha256 is the digest as hexadecimal digits, "" if it is none of SHA-256.
func (d *Document) sha256() string {
	sum, _ := strings.CutPrefix(d.Digest, "sha256:")
	if len(sum) != 2*sha256.Size {
		return ""
	}
	return sum
}

// layerOf is the digest of the layer of a location, "" if it is not known.
func (d *Document) layerOf(l Location) string {
	if d.LayerDigest == nil || l.Layer == nil {
		return ""
	}
	return d.LayerDigest(l.Layer)
}

// identifier is a name for the package that is unique in its document, of letters, digits and hyphens.
func (p *Package) identifier() string {
	clean := strings.Map(func(r rune) rune {
		if r < 0x80 && isIdentifier(string(r)) {
			return r
		}
		return '-'
	}, p.Name)
	sum := sha256.Sum256([]byte(p.PURL))
	return fmt.Sprintf("%s-%.64s-%s", p.Type, clean, hex.EncodeToString(sum[:8]))
}
